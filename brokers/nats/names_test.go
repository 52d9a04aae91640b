package nats

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ name, token, root string }{
		{"orders", "orders", "orders"},
		{"orders.v1", "orders=2Ev1", "orders.v1"},
		{"a b*>", "a=20b=2A=3E", "a=20b=2A=3E"},
		{"a..b", "a=2E=2Eb", "a=2E=2Eb"},
		{".a", "=2Ea", "=2Ea"},
		{"a.", "a=2E", "a=2E"},
		{"a=b", "a=3Db", "a=3Db"},
		{"$JS/x", "=24JS=2Fx", "=24JS=2Fx"},
		{"ключ", "=D0=BA=D0=BB=D1=8E=D1=87", "=D0=BA=D0=BB=D1=8E=D1=87"},
	} {
		if got := token(c.name); got != c.token {
			t.Errorf("token of %q: %q; want %q", c.name, got, c.token)
		}
		if got := root(c.name); got != c.root {
			t.Errorf("root of %q: %q; want %q", c.name, got, c.root)
		}
	}
}

// Two names never become one, nor one that the server refuses or takes for a
// pattern.
func TestNamesAreInjectiveAndSafe(t *testing.T) {
	name := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a.=2E*> $"))))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if a != b && (token(a) == token(b) || root(a) == root(b)) {
			t.Fatalf("%q and %q are one on the server: %q, %q", a, b, token(a), root(a))
		}
		if strings.ContainsAny(token(a), ".*> \t\r\n/\\$") {
			t.Fatalf("token of %q: %q", a, token(a))
		}
		if a == "" {
			return
		}
		for part := range strings.SplitSeq(root(a), ".") {
			if part == "" || strings.ContainsAny(part, "*> \t\r\n$") {
				t.Fatalf("root of %q: %q", a, root(a))
			}
		}
	})
}
