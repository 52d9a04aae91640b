package embedded_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// What a loss of power leaves is what was written to the disk: with SyncAlways
// that is done before each confirmation, with SyncInterval not. The system calls
// of a process are counted, which takes strace.
func TestWritesToDisk(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	const messages = 200
	for sync, enough := range map[string]func(calls int) bool{
		"always":   func(calls int) bool { return calls >= messages },
		"interval": func(calls int) bool { return calls < messages/10 },
	} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			trace := filepath.Join(dir, "trace")
			child := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace, os.Args[0])
			child.Env = append(os.Environ(), childDir+"="+filepath.Join(dir, "store"), childSync+"="+sync, childCount+"="+strconv.Itoa(messages))
			child.Stderr = os.Stderr
			out, err := child.Output()
			if err != nil {
				t.Fatal(err)
			}
			if confirmed := bytes.Count(out, []byte("\n")); confirmed != messages {
				t.Fatalf("%d messages were confirmed, want %d", confirmed, messages)
			}
			calls, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			n := bytes.Count(calls, []byte("fsync(")) + bytes.Count(calls, []byte("fdatasync("))
			if !enough(n) {
				t.Errorf("%d writes to the disk for %d confirmed messages", n, messages)
			}
			t.Logf("%d writes to the disk for %d confirmed messages", n, messages)
		})
	}
}
