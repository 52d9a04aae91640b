package actors

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Ids and keys are one to one, an id is always valid text, and that of a
// readable key is the key itself.
func TestKeyIDs(t *testing.T) {
	keys := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 40),
		rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 10), func(b []byte) []byte { return append([]byte("~"), b...) }),
		rapid.Map(rapid.Int32(), func(n int32) []byte { return []byte(laneID(n)) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := keys.Draw(t, "a"), keys.Draw(t, "b")
		id := keyID(a)
		if !utf8.ValidString(id) {
			t.Fatalf("id %q is not valid text", id)
		}
		to, err := parseID(id)
		if err != nil || to.lane || !bytes.Equal(to.key, a) {
			t.Fatalf("key %q has id %q, which reads as %+v, %v", a, id, to, err)
		}
		if utf8.Valid(a) && !strings.HasPrefix(string(a), "~") && id != string(a) {
			t.Fatalf("readable key %q has id %q", a, id)
		}
		if keyID(b) == id && !bytes.Equal(a, b) {
			t.Fatalf("keys %q and %q have one id, %q", a, b, id)
		}
	})
}

func TestLaneIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int32Min(0).Draw(t, "partition")
		to, err := parseID(laneID(n))
		if err != nil || !to.lane || to.partition != n {
			t.Fatalf("lane %d has id %q, which reads as %+v, %v", n, laneID(n), to, err)
		}
	})
}

func TestIDsThatNobodyGave(t *testing.T) {
	for _, id := range []string{"~!", "~~", "~~x", "~~-1", "~~99999999999", "~ "} {
		if to, err := parseID(id); err == nil {
			t.Errorf("id %q reads as %+v", id, to)
		}
	}
}
