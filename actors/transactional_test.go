package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// echo publishes each message's payload to "out", and fails as f says.
func echo(f func(*actors.Context) error) actors.Actor {
	return actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
		if err := ctx.Publish("out", ctx.Event().Payload); err != nil {
			return err
		}
		return f(ctx)
	}))
}

// In transactions, what messages led to comes in their order and with their
// acknowledgement, dead letters included; a key that is stuck holds it back, while
// other keys are handled.
func TestTransactionalEffectsWaitForTheirPredecessors(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		w.start(actors.Subscription{
			Transactional: true, Policy: supervision.Policy{
				MaxAttempts: -1, Backoff: supervision.Constant(time.Minute), DeadLetter: "dead",
				Rules: []supervision.Rule{supervision.On(errDead).DeadLetter()},
			},
			Actor: echo(func(ctx *actors.Context) error {
				if string(ctx.Event().Payload) == "hopeless" {
					return errDead
				}
				return failing("stuck", 1)(ctx)
			}),
		})
		w.publish("a", "1")
		w.publish("b", "stuck", "after")
		w.publish("c", "2", "hopeless", "3")
		if got := fmt.Sprint(w.payloads("out"), w.payloads("dead"), w.position("g0")); got != "[1] [] 1" {
			t.Fatalf("out, dead letters and position are %s while a key is stuck; want [1] [] 1", got)
		}
		w.pass(time.Minute)
		if got := fmt.Sprint(w.payloads("out"), w.payloads("dead"), w.position("g0")); got != "[1 stuck after 2 3] [hopeless] 6" {
			t.Fatalf("out, dead letters and position are %s in the end", got)
		}
		if r := w.stop(); r.Handled != 5 || r.DeadLettered != 1 {
			t.Errorf("report: %+v", r)
		}
	})
}

// At MaxStaged the partition is held, and the event and Health name the key to
// blame.
func TestMaxStagedHoldsThePartition(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		w.start(actors.Subscription{
			Transactional: true, MaxStaged: 20, MaxInFlight: 10, Policy: constant(1, time.Minute), Actor: echo(failing("stuck", 1)),
		})
		w.publish("bad", "stuck")
		for i := range 100 {
			w.publish("good", fmt.Sprint(i))
		}
		w.pass(time.Second)
		if over := seen[actors.Overflowed](w); len(over) != 1 || over[0].Limit != "MaxStaged" || string(over[0].Key) != "bad" {
			t.Fatalf("overflow: %+v", over)
		}
		if h := fmt.Sprint(w.sys.Health(context.Background())); !strings.Contains(h, `held at MaxStaged by key "bad"`) {
			t.Errorf("Health does not say what holds the partition: %s", h)
		}
		if n := len(seen[actors.Handled](w)); n < 20 || n > 30 {
			t.Errorf("%d messages were handled above what is stuck; want 20, and 10 in flight at most", n)
		}
		w.pass(time.Minute)
		if n := len(w.payloads("out")); n != 101 {
			t.Errorf("%d messages were published in the end; want 101", n)
		}
	})
}

// At MaxStaged a key can be given up instead.
func TestMaxStagedGivesTheKeyUp(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		policy := constant(1, time.Hour)
		policy.DeadLetter = "dead"
		policy.MaxAttempts = -1
		w.start(actors.Subscription{
			Transactional: true, MaxStaged: 20, OnOverflow: actors.OverflowDeadLetterKey, Policy: policy,
			Actor: echo(failing("stuck", 9)),
		})
		w.publish("bad", "stuck")
		for i := range 100 {
			w.publish("good", fmt.Sprint(i))
		}
		w.pass(time.Second)
		if got := fmt.Sprint(w.payloads("dead")); got != "[stuck]" {
			t.Errorf("dead letters are %s; want the key's", got)
		}
		if n := len(w.payloads("out")); n != 100 {
			t.Errorf("%d messages were published; want 100", n)
		}
	})
}

// A fenced transaction ends the epoch, and with it the instances, whose state is
// ahead of what is committed. What they had led to does not count; each message
// counts once.
func TestFencedTransactionDiscardsInstances(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		w.start(actors.Subscription{Transactional: true, Actor: actors.PerKey(func(string) *total { return &total{} })})
		w.publish("a", "1", "2")
		synctest.Wait()
		w.broker.Server().VoidAcks(1)
		w.publish("a", "3")
		w.pass(time.Second)
		w.publish("a", "4")
		if got := fmt.Sprint(w.payloads("out")); got != "[1 2 1 2]" {
			t.Errorf("the outputs are %s; want [1 2 1 2], counts that begin anew with the epoch", got)
		}
		if n := len(seen[actors.PartitionLost](w)); n != 1 {
			t.Errorf("%d partitions were lost; want 1", n)
		}
	})
}

// total counts the messages of a key.
type total struct{ n int }

func (c *total) Receive(ctx *actors.Context) error {
	c.n++
	return ctx.Publish("out", fmt.Append(nil, c.n))
}

// A transaction that the broker refuses is made again, without the handler.
func TestRefusedTransactionIsMadeAgain(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		w.start(actors.Subscription{Transactional: true, Actor: echo(ok)})
		refusals := 3
		w.broker.Server().OnPublish(func(m brokers.Message) error {
			if m.Topic == "out" && refusals > 0 {
				refusals--
				return errors.New("no room")
			}
			return nil
		})
		w.publish("a", "1", "2")
		w.pass(time.Second)
		if got := fmt.Sprint(w.payloads("out"), w.position("g0"), len(seen[actors.Handled](w))); got != "[1 2] 2 2" {
			t.Errorf("out, position and number of handlings are %s; want [1 2] 2 2", got)
		}
	})
}

// A dead letter that would be larger than messages may be says less of the failure.
func TestLargeDeadLetterIsShort(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		const most = 12_000
		w.start(actors.Subscription{
			Transactional: true, Publisher: brokers.PublisherConfig{MaxMessageBytes: most},
			Policy: supervision.Policy{MaxAttempts: 1, DeadLetter: "dead"},
			Actor:  actors.Func(func(context.Context, brokers.Message) error { panic("hopeless") }),
		})
		w.publish("a", "short")
		w.send(brokers.Message{Topic: "in", Key: []byte("a"), Payload: []byte(strings.Repeat("x", most-1000))})
		synctest.Wait()
		dead := w.broker.Server().Messages("dead")
		if len(dead) != 2 {
			t.Fatalf("%d dead letters; want 2", len(dead))
		}
		for i, stack := range []bool{true, false} {
			_, letter, err := supervision.Decode(&dead[i])
			w.must(err)
			if (letter.Stack != "") != stack || dead[i].Size() > most {
				t.Errorf("dead letter %d has %d bytes, and a stack: %v; want at most %d, %v", i, dead[i].Size(), letter.Stack != "", most, stack)
			}
		}
	})
}

func TestTransactionalIsRefusedWhereItCannotBe(t *testing.T) {
	with := func(cfg memory.Config) actors.Subscription {
		return actors.Subscription{
			Group: "g", Broker: memory.New(cfg), Topics: []string{"in"}, Actor: actors.Shared(nil), Transactional: true,
		}
	}
	unordered, without, durably := with(memory.Config{}), with(memory.Config{DedupWindow: time.Minute}), with(memory.Config{})
	unordered.Unordered = true
	durably.Actor = actors.Durable(func(string) *total { return &total{} }, actors.Durability{})
	negative := with(memory.Config{})
	negative.MaxStaged, negative.MaxStagedBytes = -1, -1
	for want, sub := range map[string]actors.Subscription{
		"Transactional: goes not with Unordered":               unordered,
		"Transactional: the memory broker has no transactions": without,
		"Transactional: goes not with durable actors":          durably,
		"MaxStaged: is negative":                               negative,
		"MaxStagedBytes: is negative":                          negative,
	} {
		if _, err := actors.NewSystem(actors.Config{}, sub); !errors.Is(err, actors.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("NewSystem: %v; want ErrConfig, and %q", err, want)
		}
		if err := sub.Broker.Close(); err != nil {
			t.Error(err)
		}
	}
}
