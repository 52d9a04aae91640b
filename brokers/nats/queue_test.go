package nats

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// Whatever is pushed comes out once, in order; nobody writes to what was taken,
// and what was taken is not kept alive.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var next, due int64
		var taken []brokers.Message
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 9).Draw(t, "n") {
					q.push(brokers.Message{Offset: next, Payload: []byte("x")})
					next++
				}
			},
			"take": func(t *rapid.T) {
				for _, m := range q.take(rapid.IntRange(0, q.len()).Draw(t, "n")) {
					if m.Offset != due || m.Payload == nil {
						t.Fatalf("message %d came; want %d", m.Offset, due)
					}
					taken = append(taken, m)
					due++
				}
			},
			"": func(t *rapid.T) {
				if q.len() != int(next-due) {
					t.Fatalf("%d messages in it; want %d", q.len(), next-due)
				}
				for i, m := range q.list() {
					if m.Offset != due+int64(i) {
						t.Fatalf("place %d has message %d; want %d", i, m.Offset, due+int64(i))
					}
				}
				for i := range q.room[:cap(q.room)] {
					if i < q.head && q.room[:cap(q.room)][i].Payload != nil || i >= len(q.room) && q.room[:cap(q.room)][i].Payload != nil {
						t.Fatalf("place %d keeps what was taken", i)
					}
				}
				for i, m := range taken {
					if m.Offset != int64(i) {
						t.Fatalf("what was taken has changed: %d at %d", m.Offset, i)
					}
				}
			},
		})
	})
}
