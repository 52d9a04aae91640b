package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// A member that is thrown out loses its acknowledgements: what it has handled is
// delivered again, and counts once.
func TestRowsThatComeAgainCountOnce(t *testing.T) {
	const rows = 10_000
	synctest.Test(t, func(t *testing.T) {
		broker := newBroker(t, memory.Config{})
		server := broker.Server()
		release := server.HoldAcks()
		in := generated(1, rows).at(rows/2, func() {
			synctest.Wait() // until all that was published is handled
			for _, group := range []string{ledgerGroup, returnsGroup} {
				if err := server.Expel(group, server.Members(group)[0].Name); err != nil {
					t.Error(err)
				}
			}
			release()
		}).at(rows*3/4, func() {
			server.Rebalance(ledgerGroup)
			server.Rebalance(returnsGroup)
		})
		j, report := work(t, options{faults: 0.01}, in, broker)
		same(t, asPrinted(t, foundBy(t, j).named()), sum(t, generated(1, rows)))
		if again := report.Handled + report.Discarded + report.DeadLettered - 2*rows; again < rows/2 {
			t.Errorf("%d came again: %v", again, report)
		}
	})
}

// What an interrupted run has left behind is not the next one's, whose rows a
// broker that drops repeated ids must not take for repeats either.
func TestRunsOnOneBroker(t *testing.T) {
	const rows = 5000
	synctest.Test(t, func(t *testing.T) {
		broker := newBroker(t, memory.Config{DedupWindow: time.Hour})
		release := broker.Server().HoldDelivery()
		ctx, interrupt := context.WithCancel(t.Context())
		in := generated(1, rows).at(rows/2, func() {
			synctest.Wait()
			interrupt()
		})
		j := newJob(options{partitions: 12}, in, broker)
		report, err := j.work(ctx, zap.NewNop(), quiet())
		if !errors.Is(err, errInterrupted) || report.Handled != 0 {
			t.Fatalf("%v, %v", report, err)
		}
		release()

		in = generated(1, rows)
		j, report = work(t, options{}, in, broker)
		same(t, asPrinted(t, foundBy(t, j).named()), sum(t, in))
		if left := report.Handled + report.Discarded + report.DeadLettered - 2*rows; left != 2*(rows/2-1) {
			t.Errorf("%d of the first run: %v", left, report)
		}
	})
}

func TestInterruptedWorkIsDrained(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in := generated(1, 10_000).at(5000, interrupt)
	j := newJob(options{partitions: 12}, in, newBroker(t, memory.Config{}))
	report, err := j.work(ctx, zap.NewNop(), quiet())
	if !errors.Is(err, errInterrupted) || !strings.Contains(err.Error(), "of 10000 rows") {
		t.Errorf("error %v", err)
	}
	if decided := report.Handled + report.DeadLettered + report.Discarded; decided == 2*10_000 {
		t.Errorf("all was done: %v", report)
	}
}

func TestRowsThatCannotBePublished(t *testing.T) {
	refused := errors.New("disk full")
	tests := map[string]struct {
		in   input
		want string
	}{
		"refused by the broker":   {generated(1, 1000), "publish row 500: "},
		"a row less than counted": {input{"shop.csv", 401, generate(1, 400)}, "shop.csv: had 401 rows"},
		"a row more than counted": {input{"shop.csv", 399, generate(1, 400)}, "shop.csv: had 399 rows"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(t, memory.Config{})
			broker.Server().OnPublish(func(m brokers.Message) error {
				if strings.HasSuffix(m.ID, "/500") {
					return refused
				}
				return nil
			})
			j := newJob(options{partitions: 12}, test.in, broker)
			_, err := j.work(t.Context(), zap.NewNop(), quiet())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}
