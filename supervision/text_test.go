package supervision

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestShorten(t *testing.T) {
	tests := []struct {
		text  string
		limit int
		want  string
	}{
		{"short", 5, "short"},
		{" padded\n", 6, "padded"},
		{"too long", 7, "too…"},
		{"too long", 6, "too…"},
		{"naïve text", 6, "na…"},
		{"naïve text", 7, "naï…"},
		{"a\nb\nc", 7, "a\nb\nc"},
		{"a\nb\nc", 6, "a…"},
		{"\xff", 3, "\uFFFD"},
		{"abc", 3, "abc"},
		{"abcd", 3, "…"},
		{"abcd", 2, ""},
		{"", 0, ""},
	}
	for _, test := range tests {
		if got := shorten(test.text, test.limit); got != test.want {
			t.Errorf("%q to %d: got %q, want %q", test.text, test.limit, got, test.want)
		}
	}
}

func TestShortenProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.SampledFrom([]byte("ab\\\n\r \xc3\xa4\xe2\x80\xa6"))).Draw(t, "text"))
		limit := rapid.IntRange(0, 20).Draw(t, "limit")
		got := shorten(text, limit)
		if escaped := escaper.Replace(got); len(escaped) > limit || strings.ContainsAny(escaped, "\r\n") {
			t.Fatalf("%q is %q escaped, limit %d", got, escaped, limit)
		} else if back := unescaper.Replace(escaped); back != got {
			t.Fatalf("%q came back as %q", got, back)
		}
		if !utf8.ValidString(got) || shorten(got, limit) != got {
			t.Fatalf("%q is not final", got)
		}
		valid := strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
		if got != valid && got != "" && !strings.HasPrefix(valid, strings.TrimSuffix(got, ellipsis)) {
			t.Fatalf("%q is no beginning of %q", got, valid)
		}
	})
}
