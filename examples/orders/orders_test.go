package main

import (
	"io"
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func generated(seed uint64, rows int) input {
	return input{"generated", rows, generate(seed, rows)}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func newBroker(t *testing.T, cfg memory.Config) *memory.Broker {
	t.Helper()
	broker := memory.New(cfg)
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker
}

// work runs a job to its end.
func work(t *testing.T, o options, in input, broker brokers.Broker) (*job, actors.Report) {
	t.Helper()
	if o.partitions == 0 {
		o.partitions = 12
	}
	j := newJob(o, in, broker)
	report, err := j.work(t.Context(), zap.NewNop(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	return j, report
}

func foundBy(t *testing.T, j *job) *totals {
	t.Helper()
	all, err := j.totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// same compares totals by name.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s, %q, should not be there", name, value)
		}
	}
}

func TestTotalsAreThoseOfASimpleSum(t *testing.T) {
	tests := map[string]struct {
		options options
		broker  memory.Config
		seed    uint64
		rows    int
	}{
		"plain":                     {seed: 1, rows: 10_000},
		"faults":                    {options: options{faults: 0.05, seed: 7}, seed: 2, rows: 10_000},
		"one partition":             {options: options{partitions: 1}, seed: 3, rows: 5000},
		"cumulative, faults":        {options: options{faults: 0.05}, broker: memory.Config{CumulativeOnly: true}, seed: 4, rows: 5000},
		"unsequenced":               {broker: memory.Config{Unsequenced: true}, seed: 5, rows: 5000},
		"forgets what is settled":   {broker: memory.Config{DropSettled: true}, seed: 6, rows: 5000},
		"one row":                   {seed: 7, rows: 1},
		"no row":                    {seed: 8, rows: 0},
		"more partitions than rows": {options: options{partitions: 50}, seed: 9, rows: 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := generated(test.seed, test.rows)
			j, report := work(t, test.options, in, newBroker(t, test.broker))
			same(t, asPrinted(t, foundBy(t, j).named()), sum(t, in))
			if retried := report.Retried > 0; retried != (test.options.faults > 0) {
				t.Errorf("with faults %v: %v", test.options.faults, report)
			}
			if settled := report.Handled + report.DeadLettered + report.Discarded; settled != 2*int64(test.rows) || report.GivenBack != 0 {
				t.Errorf("of %d rows: %v", test.rows, report)
			}
		})
	}
}

// at returns the input with f called before the given row is yielded.
func (in input) at(row int, f func()) input {
	lines := in.lines
	in.lines = func(yield func(line, error) bool) {
		for l, err := range lines {
			if l.Row == row {
				f()
			}
			if !yield(l, err) {
				return
			}
		}
	}
	return in
}

func inputOf(lines ...line) input {
	return input{"lines", len(lines), func(yield func(line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}}
}
