package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
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

func (l late) Commit(ctx context.Context, units []sagas.Unit) ([]error, error) {
	select {
	case <-time.After(l.by):
	case <-ctx.Done():
	}
	return l.Store.Commit(ctx, units)
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

// B29: a participant that answers at once never finds a command whose saga is not
// stored, though commits take their time, and no saga waits for ever.
func TestFastReplies(t *testing.T) {
	// Both wait for slow commits, and not for a processor.
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		testFastReplies(t, memory.New(memory.Config{Partitions: 4}))
	})
	t.Run("jetstream", func(t *testing.T) {
		t.Parallel()
		broker, err := brokers.Open(t.Context(), "nats://embedded?dir="+t.TempDir(), embedded.Driver)
		if err != nil {
			t.Fatal(err)
		}
		testFastReplies(t, broker)
	})
}

func testFastReplies(t *testing.T, broker brokers.Broker) {
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
	db, store := open(t)
	relay, err := outbox.NewRelay(outbox.Config{Source: db, Broker: broker})
	if err != nil {
		t.Fatal(err)
	}
	stopRelay := running(t, relay.Run)
	defer stopRelay()
	runner, err := sagas.Open(t.Context(), sagas.Config[state]{
		Definitions: []*sagas.Definition[state]{{Name: "quick", Version: 1, Steps: []sagas.Step[state]{{Name: "a", Kind: sagas.Pivot, Do: to("commands")}}}},
		Store:       late{store, 200 * time.Millisecond}, Name: "me", Replies: "replies", DeadLetters: "dead",
	})
	if err != nil {
		t.Fatal(err)
	}
	participant := actors.Subscription{
		Group: "participant", Broker: broker, Topics: []string{"commands"},
		Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
			m := ctx.Event()
			_, id, _, _, _ := sagas.ParseKey(m.CorrelationID)
			if _, err := store.Load(ctx.Base(), "quick", id); err != nil {
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

// 10,000 sagas that wait for a timer hold less than 1 KB each.
func TestWaitingIsCheap(t *testing.T) {
	const instances = 10_000
	_, store := open(t)
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

// A runner that ends amid 1,000 sagas is followed by one that resumes all of them
// within a second, and all end rightly.
func TestResumeMany(t *testing.T) {
	const instances = 1000
	path := filepath.Join(t.TempDir(), "app.db")
	db, store := openFile(t, path)
	block := make(chan struct{})
	var mu sync.Mutex
	calls := make(map[string]int)
	resumed := make(chan struct{}, 2*instances)
	call := func(ctx context.Context, key string, s state) (state, error) {
		mu.Lock()
		calls[key]++
		mu.Unlock()
		resumed <- struct{}{}
		select {
		case <-block:
			return state{s.N + 1}, nil
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
	next := func(_ context.Context, _ string, s state) (state, error) { return state{s.N + 10}, nil }
	cfg := sagas.Config[state]{Store: store, Name: "me", Definitions: []*sagas.Definition[state]{{Name: "busy", Version: 1, Steps: []sagas.Step[state]{
		{Name: "a", Do: sagas.Call(time.Hour, call), Undo: sagas.Call(time.Hour, next)},
		{Name: "b", Kind: sagas.Retriable, Do: sagas.Call(time.Hour, next)},
	}}}}
	runner, err := sagas.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	startMany(t, runner, instances)
	for range instances {
		<-resumed
	}
	if err := errors.Join(runner.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, cfg.Store = openFile(t, path)
	began := time.Now()
	if runner, err = sagas.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for range instances {
		<-resumed
	}
	took := time.Since(began)
	t.Logf("%d resumed in %v", instances, took)
	if took > time.Second && !raceEnabled {
		t.Errorf("it took %v", took)
	}
	close(block)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range instances {
		h, err := runner.Find(ctx, fmt.Sprintf("s%05d", i))
		if err != nil {
			t.Fatal(err)
		}
		if in, err := h.Wait(ctx); err != nil || in.Status != sagas.Completed || in.State.N != 11 {
			t.Fatalf("%s is %+v, %v", h.ID(), in, err)
		}
	}
	if err := runner.Close(); err != nil {
		t.Error(err)
	}
}

// Local steps: what is reported is how many sagas of three of them end in a second.
func BenchmarkLocalSteps(b *testing.B) {
	for _, atOnce := range []int{1, 8, 64, 1000} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			_, store := openFile(b, filepath.Join(b.TempDir(), "app.db"))
			nop := sagas.Call(time.Minute, func(_ context.Context, _ string, s state) (state, error) { return s, nil })
			runner, err := sagas.Open(b.Context(), sagas.Config[state]{Store: store, Name: "me", Definitions: []*sagas.Definition[state]{{Name: "local", Version: 1, Steps: []sagas.Step[state]{
				{Name: "a", Do: nop, Undo: nop}, {Name: "b", Kind: sagas.Pivot, Do: nop}, {Name: "c", Kind: sagas.Retriable, Do: nop},
			}}}})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var all sync.WaitGroup
			slots := make(chan struct{}, atOnce)
			for i := range b.N {
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					h, err := runner.Start(b.Context(), fmt.Sprint("l", i), state{})
					if err == nil {
						_, err = h.Wait(b.Context())
					}
					if err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sagas/s")
			b.StopTimer()
			if err := runner.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
