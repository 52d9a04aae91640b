package supervision

import (
	"strings"
	"unicode/utf8"
)

// ellipsis ends a text that was shortened.
const ellipsis = "…"

// escaper keeps a text on one line: brokers whose headers are lines could not
// carry it natively otherwise. unescaper is its inverse.
var (
	escaper   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	unescaper = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")
)

// escapedLen is the length of an escaped rune.
func escapedLen(r rune) int {
	if r == '\\' || r == '\n' || r == '\r' {
		return 2
	}
	return utf8.RuneLen(r)
}

// shorten makes s valid UTF-8 without space at its ends, and cuts it between
// two runes so that, escaped, it has at most limit bytes. Shortening again to
// the same limit changes nothing.
func shorten(s string, limit int) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, string(utf8.RuneError)))
	size, end := 0, 0
	for i, r := range s {
		if size <= limit-len(ellipsis) {
			end = i
		}
		size += escapedLen(r)
	}
	switch {
	case size <= limit:
		return s
	case limit < len(ellipsis):
		return ""
	}
	return strings.TrimSpace(s[:end]) + ellipsis
}
