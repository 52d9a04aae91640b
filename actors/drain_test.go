package actors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// takes handles for a while, and notes whether it was called off.
func (w *world) takes(d time.Duration) actors.Actor {
	return actors.Func(func(ctx context.Context, m brokers.Message) error {
		w.note("%s begins", m.Payload)
		select {
		case <-time.After(d):
			w.note("%s ends at %v", m.Payload, w.at())
			return nil
		case <-ctx.Done():
			w.note("%s is called off at %v: %v", m.Payload, w.at(), errors.Is(context.Cause(ctx), brokers.ErrRevoked))
			return ctx.Err()
		}
	})
}

func TestShutdownFinishesWhatRunsAndGivesBackTheRest(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2", "3")
		w.start(actors.Subscription{Actor: w.takes(10 * time.Second)})
		w.cancel()
		<-w.ended
		w.must(w.err)
		w.expect("1 begins", "1 ends at 10s")
		if r := w.report; r.Handled != 1 || r.GivenBack != 2 || r.Retried != 0 {
			t.Fatalf("report: %v", r)
		}
		if p := w.position("g0"); p != 1 {
			t.Fatalf("position %d", p)
		}
		if n := len(seen[actors.PartitionRevoked](w)); n != 1 {
			t.Fatalf("%d revocations", n)
		}
	})
}

func TestDrainTimeoutCallsHandlersOff(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2")
		w.startWith(actors.Config{DrainTimeout: 3 * time.Second}, actors.Subscription{Actor: w.takes(time.Hour)})
		w.cancel()
		<-w.ended
		w.expect("1 begins", "1 is called off at 3s: true")
		if r := w.report; r.Handled != 0 || r.GivenBack != 2 || r.Retried != 0 {
			t.Fatalf("report: %v", r)
		}
	})
}

func TestRunReturnsThoughAHandlerIgnoresItsContext(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		gate := make(chan struct{})
		w.startWith(actors.Config{DrainTimeout: 3 * time.Second}, actors.Subscription{Actor: actors.Func(func(context.Context, brokers.Message) error {
			<-gate
			return nil
		})})
		w.cancel()
		<-w.ended
		if w.at() > 6*time.Second {
			t.Errorf("Run returned at %v", w.at())
		}
		if r := w.report; r.GivenBack != 1 {
			t.Errorf("report: %v", r)
		}
		close(gate)
		if p := w.position("g0"); p != 0 {
			t.Errorf("position %d: a handler that ended too late was acknowledged", p)
		}
	})
}

// Shutdown waits for effects on their way: a decided message whose effects are
// confirmed in time is not given back.
func TestDrainWaitsForEffects(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		release := w.broker.Server().HoldPublishes()
		w.start(actors.Subscription{Actor: w.handler(func(ctx *actors.Context) error {
			return ctx.Publish("out", []byte("x"))
		})})
		w.cancel()
		w.pass(5 * time.Second)
		release()
		<-w.ended
		w.must(w.err)
		if r := w.report; r.Handled != 1 || r.GivenBack != 0 {
			t.Fatalf("report: %v", r)
		}
		if p := w.position("g0"); p != 1 {
			t.Fatalf("position %d", p)
		}
	})
}

// A rebalance drains: what runs ends and is acknowledged, what is queued is
// handled in the next epoch, and once.
func TestRevocationDrains(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2", "3")
		w.start(actors.Subscription{Actor: w.takes(2 * time.Second)})
		w.pass(time.Second)
		w.broker.Server().Rebalance("g0")
		w.pass(time.Minute)
		w.expect("1 begins", "1 ends at 2s", "2 begins", "2 ends at 4s", "3 begins", "3 ends at 6s")
		if n := len(seen[actors.PartitionAssigned](w)); n != 2 {
			t.Fatalf("%d epochs", n)
		}
		if r := w.stop(); r.Handled != 3 || r.GivenBack != 2 {
			t.Fatalf("report: %v", r)
		}
	})
}

// A lost epoch ends handlers at once, with the cause, and acknowledges nothing
// more; its messages are handled again, in order.
func TestLostEpoch(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2")
		w.start(actors.Subscription{Actor: w.takes(2 * time.Second)})
		w.pass(time.Second)
		for _, m := range w.broker.Server().Members("g0") {
			w.must(w.broker.Server().Expel("g0", m.Name))
		}
		w.pass(time.Minute)
		w.expect("1 begins", "1 is called off at 1s: true",
			"1 begins", "1 ends at 3s", "2 begins", "2 ends at 5s")
		if n := len(seen[actors.PartitionLost](w)); n != 1 {
			t.Fatalf("%d lost epochs", n)
		}
		if r := w.stop(); r.Handled != 2 || r.Retried != 0 {
			t.Fatalf("report: %v: being called off burns no attempt", r)
		}
	})
}

// An epoch may be lost while it drains: then it was not given back.
func TestEpochLostWhileItDrains(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2")
		w.start(actors.Subscription{Actor: w.takes(2 * time.Second)})
		w.broker.Server().Rebalance("g0")
		w.pass(time.Second)
		for _, m := range w.broker.Server().Members("g0") {
			w.must(w.broker.Server().Expel("g0", m.Name))
		}
		w.pass(time.Minute)
		w.expect("1 begins", "1 is called off at 1s: true",
			"1 begins", "1 ends at 3s", "2 begins", "2 ends at 5s")
		lost, revoked := len(seen[actors.PartitionLost](w)), len(seen[actors.PartitionRevoked](w))
		if lost != 1 || revoked != 0 {
			t.Fatalf("%d epochs lost and %d revoked; want the one lost", lost, revoked)
		}
	})
}

func TestReportByGroup(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2")
		w.start(actors.Subscription{Group: "a", Actor: w.handler(ok)}, actors.Subscription{Group: "b", Actor: w.handler(ok)})
		synctest.Wait()
		r := w.stop()
		if r.Handled != 4 || r.Groups["a"].Handled != 2 || r.Groups["b"].Handled != 2 {
			t.Fatalf("report: %+v", r)
		}
		if _, err := w.sys.Run(context.Background()); !errors.Is(err, actors.ErrRunning) {
			t.Fatalf("second Run: %v", err)
		}
	})
}

func TestConfigErrorsAreReportedAtOnceByField(t *testing.T) {
	_, err := actors.NewSystem(actors.Config{DrainTimeout: -1},
		actors.Subscription{Group: "g", Topics: []string{"in", ""}, Concurrency: -1, Unkeyed: 9, OnOverflow: 9},
		actors.Subscription{Topics: []string{"x"}, Policy: constant(1, -1)},
	)
	if !errors.Is(err, actors.ErrConfig) {
		t.Fatalf("error: %v", err)
	}
	for _, field := range []string{
		"Config.DrainTimeout", `Subscription 0 ("g").Broker`, `Subscription 0 ("g").Actor`, `Subscription 0 ("g").Topics`,
		`Subscription 0 ("g").Concurrency`, `Subscription 0 ("g").Unkeyed`, `Subscription 0 ("g").OnOverflow`,
		`Subscription 1 ("").Group`, `Subscription 1 ("").Policy`,
	} {
		if !containsLine(err, field) {
			t.Errorf("no error names %s in:\n%v", field, err)
		}
	}
	broker := memory.New(memory.Config{CumulativeOnly: true})
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	sub := actors.Subscription{Group: "g", Broker: broker, Topics: []string{"in"}, Actor: actors.Shared(nil), Unordered: true}
	sub.Policy.DeadLetter = "in"
	_, err = actors.NewSystem(actors.Config{}, sub, sub)
	for _, field := range []string{`("g").Unordered`, `("g").Policy`, `Subscription 1 ("g").Topics`} {
		if !containsLine(err, field) {
			t.Errorf("no error names %s in:\n%v", field, err)
		}
	}
}

func containsLine(err error, part string) bool {
	return err != nil && strings.Contains(err.Error(), part)
}
