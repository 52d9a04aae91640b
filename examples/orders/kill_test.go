package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The environment in which the test binary is the command itself.
const asCommand = "ORDERS_TEST_AS_COMMAND"

// The command is killed in the midst of its work, and run again on the same
// directory: it finds the right totals, and what the first run had confirmed is
// decided at least once by both groups, in order per customer.
func TestKilledAndRunAgain(t *testing.T) {
	for _, sync := range []string{"interval", "always"} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			const rows = 5000
			dir := t.TempDir()
			path := filepath.Join(dir, "journal")
			args := []string{
				"-json", "-faults", "0.01", "-rows", fmt.Sprint(rows), "-journal", path,
				"-broker", "nats://embedded?sync=" + sync + "&dir=" + filepath.Join(dir, "store"),
			}
			killedAfter(t, path, 1000, args)
			stdout := completed(t, args)
			same(t, decodeTotals(t, stdout), sum(t, generated(1, rows)))

			h := readJournal(t, path)
			for _, fault := range h.faults() {
				t.Error(fault)
			}
			if len(h.runs) != 2 || len(h.runs[0].confirmed) == rows || len(h.runs[1].confirmed) != rows {
				t.Fatalf("%v; want one run that was cut short and a whole one", h)
			}
			t.Log(h)
		})
	}
}

func command(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// killedAfter kills a run once the journal has that many lines.
func killedAfter(t *testing.T, path string, lines int, args []string) {
	t.Helper()
	cmd := command(t, args)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for countLines(t, path) < lines {
		select {
		case err := <-ended:
			t.Fatalf("the run ended by itself: %v\n%s", err, &stderr)
		case <-tick.C:
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the run ended with %v; want it to be killed\n%s", err, &stderr)
	}
}

func countLines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// completed runs the command to its end and returns what it wrote to stdout.
func completed(t *testing.T, args []string) []byte {
	t.Helper()
	cmd := command(t, args)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return stdout
}

// history is what a journal tells, run by run in the order of their beginning.
type history struct{ runs []*runHistory }

type runHistory struct {
	name      string
	confirmed map[int]bool
	decided   map[string]map[int]string // by group: the row's customer
	order     map[string][]int          // by group and customer: rows as they were first decided
}

func readJournal(t *testing.T, path string) history {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var h history
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if err := h.line(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *history) line(text string) error {
	fields := strings.Split(text, "\t")
	if len(fields) < 2 {
		return fmt.Errorf("journal: %q", text)
	}
	name, row, ok := parseID(fields[1])
	if !ok {
		return fmt.Errorf("journal: %q", text)
	}
	r := h.run(name)
	group := fields[0]
	if group == "confirmed" {
		r.confirmed[row] = true
		return nil
	}
	customer := fields[2]
	if _, again := r.decided[group][row]; !again {
		r.decided[group][row] = customer
		key := group + "\t" + customer
		r.order[key] = append(r.order[key], row)
	}
	return nil
}

func (h *history) run(name string) *runHistory {
	for _, r := range h.runs {
		if r.name == name {
			return r
		}
	}
	r := &runHistory{
		name: name, confirmed: make(map[int]bool), order: make(map[string][]int),
		decided: map[string]map[int]string{ledgerGroup: {}, returnsGroup: {}},
	}
	h.runs = append(h.runs, r)
	return r
}

// faults are the rows that a group has lost, and those that it decided out of
// order.
func (h history) faults() (faults []string) {
	for _, r := range h.runs {
		for group, decided := range r.decided {
			for row := range r.confirmed {
				if _, ok := decided[row]; !ok {
					faults = append(faults, fmt.Sprintf("run %s: row %d was confirmed, and %s has not decided it", r.name, row, group))
				}
			}
		}
		for key, rows := range r.order {
			for i := 1; i < len(rows); i++ {
				if rows[i] < rows[i-1] {
					faults = append(faults, fmt.Sprintf("run %s: %q: row %d after row %d", r.name, key, rows[i], rows[i-1]))
				}
			}
		}
	}
	return faults
}

func (h history) String() string {
	var b strings.Builder
	for _, r := range h.runs {
		fmt.Fprintf(&b, "run %s: %d confirmed, %d through the ledger, %d through returns; ", r.name,
			len(r.confirmed), len(r.decided[ledgerGroup]), len(r.decided[returnsGroup]))
	}
	return b.String()
}

// The checker finds what it is for.
func TestHistoryFaults(t *testing.T) {
	for name, test := range map[string]struct {
		journal string
		want    string
	}{
		"lost":      {"confirmed\ta/1\nledger\ta/1\tk\thandled", "returns has not decided it"},
		"reordered": {"ledger\ta/2\tk\thandled\nledger\ta/1\tk\thandled", "row 1 after row 2"},
		"right":     {"confirmed\ta/1\nledger\ta/1\tk\thandled\nreturns\ta/1\tk\thandled\nreturns\ta/2\tk\thandled\nreturns\ta/1\tk\thandled", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			for line := range strings.Lines(test.journal) {
				if err := h.line(strings.TrimSuffix(line, "\n")); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.Join(h.faults(), "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("faults %q, want %q", got, test.want)
			}
		})
	}
}
