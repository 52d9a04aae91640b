package sagas

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/sagas"
)

// A process is killed amid a thousand sagas, of which some go back, and another one
// is at all of them again within a second. All end the right way.
func TestKilledAmidAThousand(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) string{
		"SQLite":     func(t *testing.T) string { return filepath.Join(t.TempDir(), "app.db") },
		"PostgreSQL": func(t *testing.T) string { return outboxtest.PostgresURL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			store, journal := store(t), filepath.Join(t.TempDir(), "journal")
			first := start(t, store, journal, false)
			first.tells(t)
			if err := first.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := first.cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
				t.Fatalf("the first ended with %v; want it to be killed\n%s", err, &first.stderr)
			}
			second := start(t, store, journal, true)
			took := second.tells(t)
			t.Logf("%d sagas went on within %d ms", instances, took)
			if took > 1000 && !raceEnabled {
				t.Errorf("it took %d ms", took)
			}
			if err := second.cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, &second.stderr)
			}
			for _, fault := range append(effects(t, journal), statuses(t, store)...) {
				t.Error(fault)
			}
		})
	}
}

// process is a child.
type process struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func start(t *testing.T, store, journal string, mayEnd bool) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.cmd.Env = append(os.Environ(), childStore+"="+store, childJournal+"="+journal)
	if mayEnd {
		p.cmd.Env = append(p.cmd.Env, childMayEnd+"=1")
	}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// tells awaits the word that all sagas are at a Call, and returns how many
// milliseconds after the runner was opened that was.
func (p *process) tells(t *testing.T) int {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("it ended: %v\n%s", p.cmd.Wait(), &p.stderr)
	}
	took, err := strconv.Atoi(p.lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// effects are what is wrong with the journal: an effect may be there more than once,
// under its key, but its first time must be in its place.
func effects(t *testing.T, journal string) (faults []string) {
	t.Helper()
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string][]string)
	for key := range strings.Lines(string(text)) {
		_, id, step, verb, ok := sagas.ParseKey(strings.TrimSuffix(key, "\n"))
		if !ok {
			t.Fatalf("journal: %q", key)
		}
		if did := verb.String() + " " + step; !slices.Contains(of[id], did) {
			of[id] = append(of[id], did)
		}
	}
	return wrongEffects(of)
}

func wrongEffects(of map[string][]string) (faults []string) {
	for number := range instances {
		want := []string{"do flight", "do hotel", "do ticket", "do car"}
		if (trip{number}).refused() {
			want = []string{"do flight", "undo flight"}
		}
		if got := of[id(number)]; !slices.Equal(got, want) {
			faults = append(faults, fmt.Sprintf("%s: effects %q, want %q", id(number), got, want))
		}
	}
	return faults
}

// statuses are those that are wrong.
func statuses(t *testing.T, name string) (faults []string) {
	t.Helper()
	store, closing, err := openStore(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closing(); err != nil {
			t.Error(err)
		}
	}()
	for number := range instances {
		want := sagas.Completed
		if (trip{number}).refused() {
			want = sagas.Compensated
		}
		r, err := store.Load(t.Context(), "trip", id(number))
		if err != nil || r.Status != want {
			faults = append(faults, fmt.Sprintf("%s is %v, %v; want %v", id(number), r.Status, err, want))
		}
	}
	return faults
}

// The checker finds what it is for.
func TestWrongEffects(t *testing.T) {
	of := make(map[string][]string)
	for number := range instances {
		of[id(number)] = []string{"do flight", "do hotel", "do ticket", "do car"}
		if (trip{number}).refused() {
			of[id(number)] = []string{"do flight", "undo flight"}
		}
	}
	if faults := wrongEffects(of); len(faults) > 0 {
		t.Errorf("faults where there are none: %q", faults)
	}
	of[id(0)] = of[id(0)][:3]
	of[id(1)] = []string{"do flight"}
	of[id(4)] = []string{"do flight", "undo flight", "do ticket"}
	slices.Reverse(of[id(2)])
	if faults := wrongEffects(of); len(faults) != 4 {
		t.Errorf("%d faults of 4: %q", len(faults), faults)
	}
}
