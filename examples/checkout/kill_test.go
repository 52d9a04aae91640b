package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/sagas"
)

// The environment in which the test binary is the command itself.
const asCommand = "CHECKOUT_TEST_AS_COMMAND"

// The command is killed at random points of its work, and run again on the same
// store and broker: it finds the right totals, and every saga has gone the right way.
func TestKilledAndRunAgain(t *testing.T) {
	dir := t.TempDir()
	survives(t, 400, 5, "-store", filepath.Join(dir, "shop.db"), "-broker", "nats://embedded?dir="+filepath.Join(dir, "broker"))
}

// The same with PostgreSQL and a broker on a server.
func TestKilledOnServers(t *testing.T) {
	for broker, options := range map[string]string{
		"TEST_KAFKA_URL": "?instance_id=shop", // else the groups wait for the member that was killed
		"TEST_AMQP_URL":  "",
	} {
		t.Run(broker, func(t *testing.T) {
			store, dsn := outboxtest.PostgresURL(t), os.Getenv(broker)
			if dsn == "" {
				if os.Getenv("REQUIRE_BROKERS") == "1" {
					t.Fatalf("%s is not set", broker)
				}
				t.Skipf("%s is not set", broker)
			}
			survives(t, 150, 2, "-store", store, "-broker", dsn+options, "-prefix", "checkout-"+uuid.NewString()[:8]+".", "-partitions", "2")
		})
	}
}

// survives kills some runs, and then checks the one that ends.
func survives(t *testing.T, invoices, kills int, args ...string) {
	t.Helper()
	const seed = 7
	journal := filepath.Join(t.TempDir(), "journal")
	args = append([]string{"-json", "-seed", fmt.Sprint(seed), "-invoices", fmt.Sprint(invoices), "-journal", journal}, args...)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range kills {
		more := 1 + random.IntN(3*invoices/kills)
		killedAfter(t, journal, countLines(t, journal)+more, args)
	}
	t.Logf("killed %d times, with %d events in the journal", kills, countLines(t, journal))
	same(t, decode(t, completed(t, args)), sum(generate(seed, invoices)))
	o, err := parseOptions(args, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	checkSagas(t, o)
}

// checkSagas looks at each saga's timeline: its steps were done in order, and what
// was done was undone in reverse, or nothing.
func checkSagas(t *testing.T, o options) {
	t.Helper()
	db, err := openStore(t.Context(), o.store, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.close(); err != nil {
			t.Error(err)
		}
	}()
	s := &shop{options: o, db: db}
	ended, err := s.ended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for order, status := range ended {
		log, err := db.sagas.Timeline(t.Context(), "checkout", order)
		if err != nil {
			t.Fatal(err)
		}
		if fault := wrongWay(status, log); fault != "" {
			t.Errorf("order %s: %s: %+v", order, fault, log)
		}
	}
}

func wrongWay(status sagas.Status, log []sagas.Entry) string {
	var done, undone []string
	for _, e := range log {
		switch e.What {
		case sagas.StepDone:
			done = append(done, e.Step)
		case sagas.StepUndone:
			undone = append(undone, e.Step)
		}
	}
	slices.Reverse(undone)
	all := []string{"reserve", "charge", "pack", "ship"}
	switch {
	case status == sagas.Completed && (!slices.Equal(done, all) || len(undone) > 0):
		return fmt.Sprintf("completed after %q, and back over %q", done, undone)
	case status == sagas.Compensated && (!slices.Equal(done, all[:2]) || !slices.Equal(undone, done)):
		return fmt.Sprintf("compensated after %q, and back over %q", done, undone)
	case log[len(log)-1].What != cmp.Or(map[sagas.Status]sagas.Happening{sagas.Completed: sagas.AllDone}[status], sagas.AllUndone):
		return "something came after the end"
	}
	return ""
}

// The checker finds what it is for.
func TestWrongWay(t *testing.T) {
	entries := func(whats ...any) (log []sagas.Entry) {
		for i := 0; i < len(whats); i += 2 {
			log = append(log, sagas.Entry{What: whats[i].(sagas.Happening), Step: whats[i+1].(string)})
		}
		return log
	}
	d, u := sagas.StepDone, sagas.StepUndone
	for _, c := range []struct {
		status sagas.Status
		log    []sagas.Entry
		right  bool
	}{
		{sagas.Completed, entries(d, "reserve", d, "charge", d, "pack", d, "ship", sagas.AllDone, ""), true},
		{sagas.Completed, entries(d, "reserve", d, "charge", d, "charge", d, "pack", d, "ship", sagas.AllDone, ""), false},
		{sagas.Completed, entries(d, "reserve", d, "charge", d, "pack", sagas.AllDone, ""), false},
		{sagas.Compensated, entries(d, "reserve", d, "charge", u, "charge", u, "reserve", sagas.AllUndone, ""), true},
		{sagas.Compensated, entries(d, "reserve", d, "charge", u, "reserve", u, "charge", sagas.AllUndone, ""), false},
		{sagas.Compensated, entries(d, "reserve", d, "charge", u, "charge", sagas.AllUndone, ""), false},
		{sagas.Compensated, entries(d, "reserve", d, "charge", u, "charge", u, "reserve", sagas.AllUndone, "", sagas.StepBegun, "ship"), false},
	} {
		if fault := wrongWay(c.status, c.log); (fault == "") != c.right {
			t.Errorf("%v, %+v: %q", c.status, c.log, fault)
		}
	}
}

func newCommand(t *testing.T, args []string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd, stderr = exec.CommandContext(ctx, os.Args[0], args...), &bytes.Buffer{}
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = stderr
	return cmd, stderr
}

// killedAfter kills a run once the journal has that many lines.
func killedAfter(t *testing.T, journal string, lines int, args []string) {
	t.Helper()
	cmd, stderr := newCommand(t, args)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for countLines(t, journal) < lines {
		select {
		case err := <-ended:
			t.Fatalf("the run ended by itself: %v\n%s", err, stderr)
		case <-tick.C:
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the run ended with %v; want it to be killed\n%s", err, stderr)
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
	cmd, stderr := newCommand(t, args)
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	return stdout
}
