package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// What a handler stages goes out when it succeeds, and its message is settled
// when the broker has confirmed it; the key's next message need not wait.
func TestEffectsAreStagedAndConfirmedBeforeTheMessageIsSettled(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2")
		release := w.broker.Server().HoldPublishes()
		w.start(actors.Subscription{Policy: constant(3, time.Second), Actor: w.handler(func(ctx *actors.Context) error {
			p := string(ctx.Event().Payload)
			w.must(ctx.Publish("out", []byte(fmt.Sprintf("%s by attempt %d", p, ctx.Attempt()))))
			if p == "1" && ctx.Attempt() == 1 {
				return errFlaky
			}
			return nil
		})})
		w.pass(2 * time.Second)
		w.expect("k:1 flaky", "k:1", "k:2")
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d before the effects are confirmed", p)
		}
		release()
		if got := fmt.Sprint(w.payloads("out")); got != "[1 by attempt 2 2 by attempt 1]" {
			t.Fatalf("out: %v", got)
		}
		if p := w.position("g0"); p != 2 {
			t.Fatalf("position %d, want 2", p)
		}
	})
}

// A refused effect is published again, in order, and the handler does not run
// again; meanwhile its key starts nothing, and other keys go on.
func TestRefusedEffectHoldsItsKeyOnly(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.broker.Server().OnPublish(func(m brokers.Message) error {
			if string(m.Payload) == "effect of 1" && w.at() < 5*time.Second {
				return errors.New("unroutable")
			}
			return nil
		})
		w.start(actors.Subscription{Policy: constant(3, time.Second), Actor: w.handler(func(ctx *actors.Context) error {
			return ctx.Publish("out", []byte("effect of "+string(ctx.Event().Payload)))
		})})
		w.publish("a", "1")
		synctest.Wait()
		w.publish("a", "2")
		w.publish("b", "3")
		w.expect("a:1", "b:3")
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d", p)
		}
		w.pass(10 * time.Second)
		w.expect("a:2")
		if got := fmt.Sprint(w.payloads("out")); got != "[effect of 3 effect of 1 effect of 2]" {
			t.Fatalf("out: %v", got)
		}
		if p := w.position("g0"); p != 3 {
			t.Fatalf("position %d", p)
		}
	})
}

// Effects of a message carry ids derived from its own, so that a repeat after a
// crash publishes under equal ids.
func TestEffectsHaveDerivedIdsAndTheKeyOfTheirCause(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		w.start(actors.Subscription{Actor: w.handler(func(ctx *actors.Context) error {
			return errors.Join(ctx.Publish("out", []byte("x")), ctx.Publish("out", []byte("y"), actors.WithKey([]byte("other"))))
		})})
		w.expect("k:1")
		out := w.broker.Server().Messages("out")
		if len(out) != 2 || out[0].ID != "k/1>g0#0" || out[1].ID != "k/1>g0#1" || string(out[0].Key) != "k" || string(out[1].Key) != "other" {
			t.Fatalf("out: %+v", out)
		}
		if out[0].CorrelationID != "k/1" {
			t.Fatalf("correlation id %q", out[0].CorrelationID)
		}
	})
}

func TestOversizedEffectFailsTheHandler(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		policy := constant(1, time.Second)
		policy.DeadLetter = "dead"
		w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			err := ctx.Publish("out", make([]byte, 2<<20))
			if !errors.Is(err, brokers.ErrTooLarge) {
				t.Errorf("Publish: %v", err)
			}
			return supervision.Permanent(errFlaky)
		})})
		w.expect("k:1 flaky")
		if got := w.payloads("out"); len(got) != 0 {
			t.Fatalf("out: %d messages", len(got))
		}
	})
}

func TestUnkeyed(t *testing.T) {
	blocked := func(w *world) actors.Actor {
		return actors.Func(func(ctx context.Context, m brokers.Message) error {
			w.note("%s", m.Payload)
			if string(m.Payload) == "first" {
				<-time.After(time.Second)
			}
			return nil
		})
	}
	publish := func(w *world) {
		for _, p := range []string{"first", "second"} {
			w.send(brokers.Message{Topic: "in", Payload: []byte(p)})
		}
		w.send(brokers.Message{Topic: "in", Key: []byte{}, Payload: []byte("empty key")})
	}
	t.Run("serial", func(t *testing.T) {
		inWorld(t, memory.Config{}, func(w *world) {
			publish(w)
			w.start(actors.Subscription{Actor: blocked(w)})
			w.pass(time.Second / 2) // with one processor it takes the pool a moment to see that a worker is blocked
			w.expectAnyOrder("first", "empty key")
			w.pass(time.Second / 2)
			w.expect("second")
		})
	})
	t.Run("concurrent", func(t *testing.T) {
		inWorld(t, memory.Config{}, func(w *world) {
			publish(w)
			w.start(actors.Subscription{Actor: blocked(w), Unkeyed: actors.UnkeyedConcurrent, Concurrency: 2})
			w.pass(time.Second / 2)
			w.expectAnyOrder("first", "second", "empty key")
		})
	})
	t.Run("refuse", func(t *testing.T) {
		inWorld(t, memory.Config{}, func(w *world) {
			publish(w)
			policy := constant(5, time.Second)
			policy.DeadLetter = "dead"
			w.start(actors.Subscription{Actor: blocked(w), Unkeyed: actors.UnkeyedRefuse, Policy: policy})
			w.expect("empty key")
			if got := len(w.payloads("dead")); got != 2 {
				t.Fatalf("%d dead letters", got)
			}
			if d := seen[actors.DeadLettered](w); len(d) != 2 || !errors.Is(d[0].Failure.Err, actors.ErrNoKey) {
				t.Fatalf("dead-lettered: %+v", d)
			}
		})
	})
}

type lane struct{ w *world }

func (l *lane) Receive(ctx *actors.Context) error {
	err := failing("2", 1)(ctx)
	l.w.note("%s %v", ctx.Event().Payload, err)
	return err
}

func TestPerPartitionIsStrictlyInOffsetOrder(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		for i, k := range []string{"a", "b", "c", "a"} {
			w.publish(k, fmt.Sprint(i+1))
		}
		w.start(actors.Subscription{
			Policy: constant(3, time.Second),
			Actor:  actors.PerPartition(func() *lane { return &lane{w} }),
		})
		w.expect("1 <nil>", "2 flaky")
		w.pass(time.Second)
		w.expect("2 <nil>", "3 <nil>", "4 <nil>")
	})
}

func TestUnorderedHandlesAKeysMessagesAtOnce(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		var now, most atomic.Int32
		w.start(actors.Subscription{Unordered: true, Concurrency: 8, Actor: actors.Func(func(context.Context, brokers.Message) error {
			most.Store(max(most.Load(), now.Add(1)))
			<-time.After(time.Second)
			now.Add(-1)
			return nil
		})})
		w.publish("k", "1", "2", "3", "4", "5")
		w.pass(3 * time.Second)
		if most.Load() < 4 {
			t.Fatalf("%d at once", most.Load())
		}
		if r := w.stop(); r.Handled != 5 {
			t.Fatalf("report: %v", r)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		sys := w.start(actors.Subscription{Actor: w.handler(ok)})
		w.must(sys.Pause("g0"))
		w.publish("k", "1")
		w.pass(time.Minute)
		w.expect()
		w.must(sys.Resume("g0"))
		w.expect("k:1")

		w.must(sys.PausePartition("g0", "in", 0))
		w.publish("k", "2")
		w.pass(time.Minute)
		w.expect()
		w.must(sys.ResumePartition("g0", "in", 0))
		w.expect("k:2")

		if err := sys.Pause("nobody"); !errors.Is(err, actors.ErrNoSubscription) {
			t.Errorf("Pause of an unknown group: %v", err)
		}
		if err := sys.PausePartition("g0", "in", 7); !errors.Is(err, actors.ErrNotOwned) {
			t.Errorf("PausePartition of a foreign partition: %v", err)
		}
		if n := len(seen[actors.PartitionAssigned](w)); n != 1 {
			t.Errorf("%d epochs: a pause must keep the ownership", n)
		}
	})
}

// A parked key with a backlog of MaxParked holds the partition, says so, and
// lets it go on when the key does.
// What is fetched and not settled stays within MaxInFlight, of a partition and
// of the process, in messages and in bytes.
// Partitions share few workers fairly, and no worker hands its permit on before
// it has done something: they once did so for ever.
// The backlog of a hot key that only retries in a moment is in flight, not
// parked: it is no overflow.
// A key that waits for its dead letter is not let go by an earlier effect that
// has been confirmed after all.
func TestDeadLetterHoldsItsKeyWhateverElseIsConfirmed(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2", "3")
		w.broker.Server().OnPublish(func(m brokers.Message) error {
			if m.Topic == "out" && w.at() < 5*time.Second || m.Topic == "dead" && w.at() < 10*time.Second {
				return errors.New("refused")
			}
			return nil
		})
		policy := constant(1, time.Second)
		policy.DeadLetter = "dead"
		w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			if err := failing("2", 9)(ctx); err != nil {
				return err
			}
			return ctx.Publish("out", []byte("x"))
		})})
		w.pass(9 * time.Second)
		w.expect("k:1", "k:2 flaky")
		w.pass(10 * time.Second)
		w.expect("k:3")
	})
}

// What was given the context as a context.Context may look at it when Receive has
// returned, as database/sql does.
func TestContextMayBeLookedAtLate(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 3}, func(w *world) {
		var late sync.WaitGroup
		look := make(chan struct{})
		for i := range 30 {
			w.publish(fmt.Sprint(i), "1", "2")
		}
		policy := constant(3, time.Second)
		policy.Timeout = time.Minute
		w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			late.Go(func() {
				for range 100 {
					_, _ = ctx.Deadline()
					_, _, _ = ctx.Err(), ctx.Done(), ctx.Value("key")
				}
				<-look
				select {
				case <-ctx.Done():
				default:
					t.Error("the context goes on after the end of its partition")
				}
			})
			return failing("1", 1)(ctx)
		})})
		w.pass(time.Minute)
		w.stop()
		close(look)
		late.Wait()
	})
}
