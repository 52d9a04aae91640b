package main

import (
	"fmt"
	"os"
	"strings"
)

// writeReadme puts tables between their marks in a Markdown file:
//
//	<!-- peers: runtime -->
//	<!-- /peers -->
func writeReadme(path, name string, made []table) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const end = "<!-- /peers -->"
	begin := "<!-- peers: " + name + " -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no marks %q and %q", path, strings.TrimSpace(begin), end)
	}
	var b strings.Builder
	b.WriteString(before + begin + "\n")
	for _, t := range made {
		b.WriteString(t.text() + "\n")
	}
	b.WriteString(end + after)
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
