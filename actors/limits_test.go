package actors_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

func TestOverflowHolds(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		var mended atomic.Bool
		var healthy atomic.Int64
		sys := w.start(actors.Subscription{
			MaxParked: 10, MaxInFlight: 20, Policy: constant(1, time.Minute),
			Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
				if string(m.Key) == "bad" && !mended.Load() {
					return errFlaky
				}
				healthy.Add(1)
				return nil
			}),
		})
		for i := range 40 {
			w.publish("bad", fmt.Sprint(i))
		}
		for i := range 100 {
			w.publish("good", fmt.Sprint(i))
		}
		synctest.Wait()
		if over := seen[actors.Overflowed](w); len(over) != 1 || over[0].Limit != "MaxParked" || string(over[0].Key) != "bad" || over[0].GivenUp {
			t.Fatalf("overflow: %+v", over)
		}
		h := sys.Health(context.Background())
		if h.Ready || !strings.Contains(fmt.Sprint(h.Faults), `"bad"`) {
			t.Fatalf("health does not name the key: %+v", h)
		}
		if n := healthy.Load(); n != 0 {
			t.Fatalf("%d handled while held", n)
		}
		mended.Store(true)
		w.pass(time.Minute)
		if n := healthy.Load(); n != 140 {
			t.Fatalf("%d of 140 handled in the end", n)
		}
		if h := sys.Health(context.Background()); !h.Ready {
			t.Fatalf("health: %+v", h)
		}
	})
}

func TestOverflowGivesUpTheKey(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		policy := supervision.Policy{Backoff: supervision.Constant(time.Minute), DeadLetter: "dead", MaxAttempts: -1}
		var good atomic.Int64
		sys := w.start(actors.Subscription{
			MaxParked: 10, MaxInFlight: 20, Policy: policy, OnOverflow: actors.OverflowDeadLetterKey,
			Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
				if string(m.Key) == "bad" && string(m.Payload) != "mended" {
					return errFlaky
				}
				good.Add(1)
				return nil
			}),
		})
		var want []string
		for i := range 40 {
			w.publish("bad", fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		for i := range 100 {
			w.publish("good", fmt.Sprint(i))
		}
		synctest.Wait()
		if n := good.Load(); n != 100 {
			t.Fatalf("%d of 100 good ones handled", n)
		}
		if got := w.payloads("dead"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("dead letters %q", got)
		}
		w.publish("bad", "mended")
		synctest.Wait()
		if n := good.Load(); n != 100 {
			t.Fatal("a key that was given up was handled")
		}
		w.must(sys.ReleaseKey("g0", "in", []byte("bad")))
		w.publish("bad", "mended")
		synctest.Wait()
		if n := good.Load(); n != 101 {
			t.Fatalf("%d handled after ReleaseKey", n)
		}
	})
}

func TestMaxGapHoldsWhereOnlyPrefixesAreAcknowledged(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		var good atomic.Int64
		w.start(actors.Subscription{
			MaxGap: 100, MaxInFlight: 50, Policy: constant(1, time.Minute),
			Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
				if string(m.Key) == "bad" && w.at() < time.Minute {
					return errFlaky
				}
				good.Add(1)
				return nil
			}),
		})
		w.publish("bad", "x")
		for i := range 400 {
			w.publish("good", fmt.Sprint(i))
		}
		synctest.Wait()
		if n := good.Load(); n < 100 || n > 150 {
			t.Fatalf("%d handled above the gap of 100", n)
		}
		if over := seen[actors.Overflowed](w); len(over) != 1 || over[0].Limit != "MaxGap" || string(over[0].Key) != "bad" {
			t.Fatalf("overflow: %+v", over)
		}
		w.pass(time.Minute)
		if n := good.Load(); n != 401 {
			t.Fatalf("%d handled in the end", n)
		}
	})
}

func TestInFlightIsBounded(t *testing.T) {
	for name, limit := range map[string]func(*actors.Config, *actors.Subscription){
		"partition messages": func(_ *actors.Config, s *actors.Subscription) { s.MaxInFlight = 10 },
		"partition bytes":    func(_ *actors.Config, s *actors.Subscription) { s.MaxInFlightBytes = 10 * 105 },
		"process messages":   func(c *actors.Config, s *actors.Subscription) { c.MaxInFlight, s.MaxInFlight = 5, 5 },
		"process bytes": func(c *actors.Config, s *actors.Subscription) {
			c.MaxInFlightBytes, s.MaxInFlightBytes = 5*105, 5*105
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				cfg, sub := actors.Config{}, actors.Subscription{Concurrency: 1000}
				limit(&cfg, &sub)
				gate := make(chan struct{})
				var running, done atomic.Int64
				sub.Actor = actors.Func(func(context.Context, brokers.Message) error {
					running.Add(1)
					<-gate
					done.Add(1)
					return nil
				})
				for i := range 100 {
					w.send(brokers.Message{Topic: "in", Key: []byte(fmt.Sprintf("%05d", i)), Payload: make([]byte, 100)})
				}
				w.startWith(cfg, sub)
				w.pass(time.Second)
				if n := running.Load(); n == 0 || n > 10 {
					t.Fatalf("%d handlers run", n)
				}
				close(gate)
				w.pass(time.Second)
				if n := done.Load(); n != 100 {
					t.Fatalf("%d handled", n)
				}
			})
		})
	}
}

func TestManyPartitionsShareFewWorkers(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 12}, func(w *world) {
		for i := range 600 {
			w.publish(fmt.Sprint(i), "x")
		}
		var now, most, done atomic.Int64
		w.start(actors.Subscription{Concurrency: 4, Actor: actors.Func(func(context.Context, brokers.Message) error {
			most.Store(max(most.Load(), now.Add(1)))
			<-time.After(time.Millisecond)
			now.Add(-1)
			done.Add(1)
			return nil
		})})
		w.pass(600 / 4 * 2 * time.Millisecond)
		if done.Load() != 600 || most.Load() != 4 {
			t.Fatalf("%d of 600 handled, %d at once; want 4", done.Load(), most.Load())
		}
	})
}

func TestAShortRetryIsNoOverflow(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{
			MaxParked: 10, MaxInFlight: 100, Policy: constant(5, time.Millisecond),
			Actor: actors.Func(func(ctx context.Context, m brokers.Message) error { return nil }),
			Middleware: []actors.Middleware{func(next actors.Handler) actors.Handler {
				return actors.HandlerFunc(func(ctx *actors.Context) error {
					if ctx.Attempt() == 1 {
						return errFlaky
					}
					return next.Receive(ctx)
				})
			}},
		})
		for i := range 500 {
			w.publish("hot", fmt.Sprint(i))
		}
		w.pass(time.Minute)
		if over := seen[actors.Overflowed](w); len(over) != 0 {
			t.Fatalf("overflow: %+v", over)
		}
		if r := w.stop(); r.Handled != 500 || r.Retried != 500 {
			t.Fatalf("report: %v", r)
		}
	})
}
