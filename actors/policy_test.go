package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// constant is a policy without jitter, so that virtual times are exact.
func constant(attempts int, d time.Duration) supervision.Policy {
	return supervision.Policy{MaxAttempts: attempts, Backoff: supervision.Constant(d)}
}

func TestRetryHoldsItsKeyOnly(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("a", "1", "2")
		w.publish("b", "1")
		w.start(actors.Subscription{Policy: constant(5, time.Second), Concurrency: 1, Actor: w.handler(func(ctx *actors.Context) error {
			if ctx.Key() == "a" {
				return failing("1", 2)(ctx)
			}
			return nil
		})})
		w.expect("a:1 flaky", "b:1")
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d while the first message is not settled", p)
		}
		w.pass(999 * time.Millisecond)
		w.expect()
		w.pass(time.Millisecond)
		w.expect("a:1 flaky")
		w.pass(time.Second)
		w.expect("a:1", "a:2")
		if p := w.position("g0"); p != 3 {
			t.Fatalf("position %d, want 3", p)
		}
		if r := w.stop(); r.Handled != 3 || r.Retried != 2 || r.GivenBack != 0 {
			t.Fatalf("report: %v", r)
		}
	})
}

func TestWithoutDeadLettersAKeyIsParkedNeverDropped(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("a", "1", "2")
		policy := supervision.Policy{MaxAttempts: 2, Backoff: supervision.Exponential(time.Second, time.Minute)}
		var mended atomic.Bool
		sys := w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			if !mended.Load() {
				return errFlaky
			}
			return nil
		})})
		w.pass(2 * time.Second)
		w.expect("a:1 flaky", "a:1 flaky")
		parked := seen[actors.Parked](w)
		if len(parked) != 1 || parked[0].After != time.Minute || string(parked[0].Key) != "a" || !errors.Is(parked[0].Failure.Err, errFlaky) {
			t.Fatalf("parked: %+v", parked)
		}
		w.pass(time.Minute)
		w.expect("a:1 flaky")
		mended.Store(true)
		w.must(sys.RetryKey("g0", "in", []byte("a")))
		w.expect("a:1", "a:2")
		if err := sys.RetryKey("g0", "in", []byte("a")); !errors.Is(err, actors.ErrNotOwned) {
			t.Fatalf("RetryKey of a key that does not wait: %v", err)
		}
	})
}

func TestDeadLetterIsConfirmedBeforeTheKeyGoesOn(t *testing.T) {
	inWorld(t, memory.Config{Unsequenced: true}, func(w *world) {
		w.publish("a", "1", "2")
		w.publish("b", "1")
		w.broker.Server().OnPublish(func(m brokers.Message) error {
			if m.Topic == "dead" && w.at() < 10*time.Second {
				return &brokers.SendError{Outcome: brokers.NotSent, Err: errors.New("broker is full")}
			}
			return nil
		})
		policy := constant(2, time.Second)
		policy.DeadLetter = "dead"
		w.start(actors.Subscription{Policy: policy, Concurrency: 1, Actor: w.handler(func(ctx *actors.Context) error {
			if ctx.Key() == "a" {
				return failing("1", 9)(ctx)
			}
			return nil
		})})
		w.expect("a:1 flaky", "b:1")
		w.pass(9 * time.Second)
		w.expect("a:1 flaky")
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d before the dead letter is confirmed", p)
		}
		w.pass(time.Minute)
		w.expect("a:2")
		if p := w.position("g0"); p != 3 {
			t.Fatalf("position %d, want 3", p)
		}
		dead := w.broker.Server().Messages("dead")
		if len(dead) != 1 {
			t.Fatalf("%d dead letters", len(dead))
		}
		original, letter, err := supervision.Decode(&dead[0])
		w.must(err)
		if string(original.Payload) != "1" || original.Topic != "in" || original.ID != "a/1" || letter.Attempts != 2 || letter.Group != "g0" {
			t.Fatalf("dead letter of %+v: %+v", original, letter)
		}
		if r := w.stop(); r.DeadLettered != 1 || r.Handled != 2 || r.GivenBack != 0 {
			t.Fatalf("report: %v", r)
		}
	})
}

// A broker that refuses a dead letter for good must not make it lost: the key
// stays parked, nothing is acknowledged, it is tried again.
func TestRefusedDeadLetterIsTriedAgain(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("a", "1", "2")
		w.broker.Server().FailPublishes(3, errors.New("too large"))
		policy := constant(1, time.Second)
		policy.DeadLetter = "dead"
		w.start(actors.Subscription{Policy: policy, Actor: w.handler(failing("1", 9))})
		w.expect("a:1 flaky")
		w.pass(2500 * time.Millisecond)
		w.expect()
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d", p)
		}
		w.pass(time.Second)
		w.expect("a:2")
		if got := w.payloads("dead"); len(got) != 1 || got[0] != "1" {
			t.Fatalf("dead letters %q", got)
		}
	})
}

func TestRulesAndMarks(t *testing.T) {
	errVoid, errGone := errors.New("void"), errors.New("gone")
	policy := constant(3, time.Second)
	policy.DeadLetter = "dead"
	policy.Rules = []supervision.Rule{supervision.On(errVoid).Discard(), supervision.On(errGone).DeadLetter()}
	fail := map[string]error{
		"discard": fmt.Errorf("line 3: %w", errVoid),
		"rule":    errGone,
		"mark":    supervision.Permanent(errFlaky),
		"drop":    supervision.Discardable(errFlaky, "old"),
		"after":   supervision.RetryAfter(errFlaky, 5*time.Second),
	}
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Policy: policy, Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
			w.note("%s %v", m.Payload, w.at())
			return fail[string(m.Payload)]
		})})
		w.publish("k", "discard", "rule", "mark", "drop", "after", "fine")
		w.pass(time.Minute)
		w.expect("discard 0s", "rule 0s", "mark 0s", "drop 0s", "after 0s", "after 5s", "after 10s", "fine 10s")
		if got := w.payloads("dead"); fmt.Sprint(got) != "[rule mark after]" {
			t.Fatalf("dead letters %q", got)
		}
		if r := w.stop(); r.Discarded != 2 || r.DeadLettered != 3 || r.Handled != 1 || r.Retried != 2 {
			t.Fatalf("report: %v", r)
		}
	})
}

func TestStopNamesTheMessageAndLosesNothing(t *testing.T) {
	policy := constant(3, time.Second)
	policy.Rules = []supervision.Rule{supervision.On(errFlaky).Stop()}
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("a", "1", "2")
		w.publish("b", "1")
		w.start(actors.Subscription{Policy: policy, Concurrency: 1, Actor: w.handler(failing("2", 9))})
		<-w.ended
		var stopped *actors.StoppedError
		if !errors.As(w.err, &stopped) || stopped.Place.Offset != 1 || string(stopped.Place.Key) != "a" || !errors.Is(w.err, errFlaky) {
			t.Fatalf("Run returned %v", w.err)
		}
		if p := w.position("g0"); p != 1 {
			t.Fatalf("position %d, want 1: the message that stopped the system is not acknowledged", p)
		}
	})
}

func TestInfrastructureFaultSuspendsAndBurnsNoAttempt(t *testing.T) {
	errDown := errors.New("database is down")
	policy := constant(2, time.Second)
	policy.DeadLetter = "dead"
	policy.Rules = []supervision.Rule{supervision.On(errDown).Infrastructure()}
	policy.Breaker = supervision.BreakerConfig{MinPause: time.Second, MaxPause: 4 * time.Second}
	inWorld(t, memory.Config{}, func(w *world) {
		var attempts atomic.Int64
		sys := w.start(actors.Subscription{Policy: policy, Concurrency: 1, Actor: w.handler(func(ctx *actors.Context) error {
			attempts.Add(1)
			if w.at() < 6*time.Second {
				return errDown
			}
			if ctx.Attempt() != 1 {
				t.Errorf("attempt %d, though infrastructure faults burn none", ctx.Attempt())
			}
			return nil
		})})
		for _, k := range []string{"a", "b", "c"} {
			w.publish(k, "1", "2")
		}
		synctest.Wait()
		if h := sys.Health(context.Background()); h.Ready {
			t.Error("ready while suspended")
		}
		w.pass(6 * time.Second)
		synctest.Wait()
		if n := attempts.Load(); n > 5 {
			t.Errorf("%d attempts in 6 s of outage: the breaker does not hold", n)
		}
		w.forget()
		w.pass(4 * time.Second)
		synctest.Wait()
		if log := w.forget(); len(log) != 6 {
			t.Errorf("after the outage: %q", log)
		}
		if h := sys.Health(context.Background()); !h.Ready {
			t.Errorf("not ready after the outage: %v", h.Faults)
		}
		if r := w.stop(); r.Handled != 6 || r.DeadLettered != 0 || r.Retried != 0 {
			t.Fatalf("report: %v", r)
		}
		if len(seen[actors.Suspended](w)) != 1 || len(seen[actors.Resumed](w)) != 1 {
			t.Fatal("not suspended and resumed once")
		}
	})
}

type counter struct{ n int }

func (c *counter) Receive(ctx *actors.Context) error {
	switch p := string(ctx.Event().Payload); p {
	case "panic":
		if ctx.Attempt() == 1 {
			panic("boom")
		}
	case "exit":
		if ctx.Attempt() == 1 {
			runtime.Goexit()
		}
	case "error":
		if ctx.Attempt() == 1 {
			return errFlaky
		}
	}
	c.n++
	return ctx.Publish("out", []byte(fmt.Sprintf("%s=%d", ctx.Event().Payload, c.n)))
}

// An error keeps the instance, a panic (or Goexit) ends it; both are retried.
func TestPanicEndsTheInstanceAnErrorKeepsIt(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{
			Policy: constant(3, time.Second),
			Actor:  actors.PerKey(func(string) *counter { return &counter{} }),
		})
		w.publish("k", "x", "error", "y", "panic", "z", "exit", "q")
		w.pass(time.Minute)
		if got := fmt.Sprint(w.payloads("out")); got != "[x=1 error=2 y=3 panic=1 z=2 exit=1 q=2]" {
			t.Fatalf("out: %v", got)
		}
		if p := w.position("g0"); p != 7 {
			t.Fatalf("position %d, want 7", p)
		}
	})
}

func TestAttemptTimeoutIsAMessageFault(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		policy := constant(2, time.Second)
		policy.Timeout, policy.DeadLetter = 3*time.Second, "dead"
		w.start(actors.Subscription{Policy: policy, Actor: actors.Func(func(ctx context.Context, _ brokers.Message) error {
			<-ctx.Done()
			w.note("%v %v", w.at(), context.Cause(ctx))
			return context.Cause(ctx)
		})})
		w.publish("k", "1")
		w.pass(time.Minute)
		w.expect("3s "+actors.ErrAttemptTimeout.Error(), "7s "+actors.ErrAttemptTimeout.Error())
		if r := w.stop(); r.DeadLettered != 1 {
			t.Fatalf("report: %v", r)
		}
	})
}

// A message that was delivered too often without a verdict is handled alone
// once, and then judged without being handled.
func TestCrashPoison(t *testing.T) {
	inWorld(t, memory.Config{CountDeliveries: true}, func(w *world) {
		w.publish("a", "poison")
		w.publish("b", "1")
		policy := constant(3, time.Second)
		policy.MaxDeliveries, policy.DeadLetter = 3, "dead"
		block := true
		start := func() {
			w.startWith(actors.Config{DrainTimeout: time.Second}, actors.Subscription{Policy: policy, Actor: actors.Func(func(ctx context.Context, m brokers.Message) error {
				w.note("%s", m.Payload)
				if string(m.Payload) == "poison" && block {
					<-ctx.Done() // as good as a crash: no verdict
					return ctx.Err()
				}
				return nil
			})})
			synctest.Wait()
		}
		for range 3 {
			start()
			w.stop()
		}
		if log := w.forget(); log[len(log)-1] != "poison" {
			t.Errorf("the third time it is to be handled alone: %q", log)
		}
		start()
		synctest.Wait()
		if got := w.payloads("dead"); len(got) != 1 || got[0] != "poison" {
			t.Fatalf("dead letters %q", got)
		}
	})
}
