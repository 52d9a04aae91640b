// Package readme checks what the README says.
package readme

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the first fenced block of a language.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n```"+language+"\n")
	code, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatalf("README.md has no block of %s", language)
	}
	return code
}

// The quick start is a program that compiles, and prints what the README says
// it prints.
func TestQuickStart(t *testing.T) {
	text := readme(t)
	source, err := os.ReadFile(filepath.Join("quickstart", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if block(t, text, "go") != string(source) {
		t.Fatal("the quick start in README.md is not quickstart/main.go")
	}
	want := strings.Split(strings.TrimSpace(block(t, text, "text")), "\n")
	got := runUntilInterrupted(t, build(t), len(want)-1)
	// Order holds within a key only; the report is the last line.
	slices.Sort(want[:len(want)-1])
	slices.Sort(got[:len(got)-1])
	if !slices.Equal(got, want) {
		t.Errorf("it prints\n%s\nand README.md says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "quickstart")
	if out, err := exec.Command("go", "build", "-o", program, "./quickstart").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// runUntilInterrupted interrupts a program when it has printed so many lines,
// and returns all its lines.
func runUntilInterrupted(t *testing.T, program string, lines int) (printed []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		printed = append(printed, scanner.Text())
		if len(printed) == lines {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v after %q", err, printed)
	}
	if len(printed) == 0 {
		t.Fatal("it prints nothing")
	}
	return printed
}

// Links within the project lead somewhere.
func TestLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`).FindAllStringSubmatch(readme(t), -1)
	if len(links) == 0 {
		t.Fatal("README.md has no links")
	}
	for _, link := range links {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, link[1])); err != nil {
			t.Errorf("README.md links to %s: %v", link[1], err)
		}
	}
}
