package sagatest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
)

type state struct{ N int }

func to(topic string) sagas.Action[state] {
	return sagas.Send(time.Minute, func(s state) sagas.Command { return sagas.Command{Topic: topic, Type: topic, Body: s} }, nil)
}

// late is a store whose commits take a while.
type late struct {
	sagas.Store

	by time.Duration
}

func (l late) Commit(ctx context.Context, by sagas.Seat, units []sagas.Unit) ([]error, error) {
	select {
	case <-time.After(l.by):
	case <-ctx.Done():
	}
	return l.Store.Commit(ctx, by, units)
}

// running runs something that ends with its context, and returns how to end it.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestFastReplies is B29: a participant that answers at once never finds a command
// whose saga is not stored, though commits take their time, and no saga waits for
// ever. It closes the broker.
func TestFastReplies(t *testing.T, o Opened, broker brokers.Broker) {
	const instances, atOnce = 1000, 64
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, topic := range []string{"commands", "replies", "dead"} {
		if err := broker.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 4}); err != nil {
			t.Fatal(err)
		}
	}
	relay, err := outbox.NewRelay(outbox.Config{Source: o.Source, Broker: broker})
	if err != nil {
		t.Fatal(err)
	}
	stopRelay := running(t, relay.Run)
	defer stopRelay()
	runner, err := sagas.Open(t.Context(), sagas.Config[state]{
		Definitions: []*sagas.Definition[state]{{Name: "quick", Version: 1, Steps: []sagas.Step[state]{{Name: "a", Kind: sagas.Pivot, Do: to("commands")}}}},
		Store:       late{o.Store, 200 * time.Millisecond}, Name: "me", Replies: "replies", DeadLetters: "dead",
	})
	if err != nil {
		t.Fatal(err)
	}
	participant := actors.Subscription{
		Group: "participant", Broker: broker, Topics: []string{"commands"},
		Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
			m := ctx.Event()
			_, id, _, _, _ := sagas.ParseKey(m.CorrelationID)
			if _, err := o.Store.Load(ctx.Base(), "quick", id); err != nil {
				t.Errorf("command of %q before its saga: %v", id, err)
			}
			reply, err := sagas.Answer(m, sagas.Accepted, "", nil)
			if err != nil {
				return err
			}
			return ctx.Publish(reply.Topic, reply)
		})),
	}
	system, err := actors.NewSystem(actors.Config{}, participant, runner.Subscription("sagas", broker))
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, func(ctx context.Context) error { _, err := system.Run(ctx); return err })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range instances {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			h, err := runner.Start(ctx, fmt.Sprint("q", i), state{})
			if err != nil {
				t.Error(err)
				return
			}
			if in, err := h.Wait(ctx); err != nil || in.Status != sagas.Completed {
				t.Errorf("%s is %v, %v", h.ID(), in.Status, err)
			}
		})
	}
	all.Wait()
	stop()
	if err := runner.Close(); err != nil {
		t.Error(err)
	}
}

// TestWaitingIsCheap has 10,000 sagas wait for a timer, which hold less than 1 KB
// each.
func TestWaitingIsCheap(t *testing.T, store sagas.Store) {
	const instances = 10_000
	cfg := sagas.Config[state]{
		Definitions: []*sagas.Definition[state]{{Name: "slow", Version: 1, Steps: []sagas.Step[state]{{Name: "a", Kind: sagas.Pivot, Do: to("commands")}}}},
		Store:       store, Name: "me", Replies: "replies", DeadLetters: "dead",
	}
	runner, err := sagas.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	startMany(t, runner, instances)
	each := (float64(heap()) - float64(before)) / instances
	t.Logf("%.0f bytes of heap for each of %d waiting", each, instances)
	if each >= 1024 {
		t.Errorf("%.0f bytes each", each)
	}
	if err := runner.Close(); err != nil {
		t.Error(err)
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func startMany(t *testing.T, runner *sagas.Runner[state], n int) {
	t.Helper()
	var all sync.WaitGroup
	slots := make(chan struct{}, 256)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if _, err := runner.Start(t.Context(), fmt.Sprintf("s%05d", i), state{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
