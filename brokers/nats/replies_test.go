package nats

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A reply subject says for how long it is waited at, to the millisecond, never less.
func TestTimeInReplySubject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left := time.Duration(rapid.Int64Range(1, math.MaxInt64-int64(time.Millisecond)).Draw(t, "left"))
		r := replies{inbox: "_INBOX.aBc."}
		got := timeOf(r.subject(rapid.Uint64().Draw(t, "number"), left))
		if got < left || got-left >= time.Millisecond {
			t.Fatalf("%v came as %v", left, got)
		}
	})
}

// Subjects of other clients, and what servers put in their place, say nothing.
func TestTimeInForeignReplySubject(t *testing.T) {
	for _, subject := range []string{"", "inbox", "_INBOX.abc.def", "_R_.abc.1", "a~", "a~-5", "a~b.c", "a~1y2p0ij32e8e7", "a~zzzzzzzzzzzzzzzz"} {
		if got := timeOf(subject); got != 0 {
			t.Errorf("%q says %v", subject, got)
		}
	}
}
