package actors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// A snapshot says what is parked and why, and what lies above it.
func TestSnapshot(t *testing.T) {
	inWorld(t, memory.Config{CumulativeOnly: true}, func(w *world) {
		w.publish("bad", "1", "2")
		w.publish("good", "1", "2", "3")
		policy := supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(time.Hour)}
		sys := w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			if ctx.Key() == "bad" {
				return errFlaky
			}
			return nil
		})})
		w.pass(5 * time.Minute)
		shot := sys.Snapshot(w.t.Context())
		if len(shot.Subscriptions) != 1 || len(shot.Subscriptions[0].Partitions) != 1 {
			t.Fatalf("%+v", shot)
		}
		s := shot.Subscriptions[0]
		p := s.Partitions[0]
		if s.Group != "g0" || s.Breaker != "closed" || s.Paused || s.Report.Handled != 3 {
			t.Errorf("subscription %+v", s)
		}
		if p.Gap != 3 || p.GapAge < 4*time.Minute || p.Unsettled != 2 || p.InFlight != 0 || p.LowWaterMark != brokers.NoOffset || p.Lag != 0 || p.Epoch == 0 || p.Keys != 2 || p.Bytes == 0 {
			t.Errorf("partition %+v", p)
		}
		if len(p.Waiting) != 1 {
			t.Fatalf("waiting %+v", p.Waiting)
		}
		k := p.Waiting[0]
		if k.Key != "bad" || !k.Parked || k.Error != "flaky" || k.Attempts != 1 || k.Backlog != 2 || k.ID != "bad/1" || k.Offset != 0 ||
			!k.Next.Equal(w.born.Add(time.Hour)) || !k.Since.Equal(w.born) {
			t.Errorf("waiting %+v", k)
		}
		if _, err := json.Marshal(shot); err != nil {
			t.Error(err)
		}
		w.must(sys.Pause("g0"))
		if shot := sys.Snapshot(w.t.Context()); !shot.Subscriptions[0].Paused || !shot.Subscriptions[0].Partitions[0].Paused {
			t.Errorf("paused %+v", shot)
		}
		w.must(sys.Resume("g0"))
		w.must(sys.RetryKey("g0", "in", []byte("bad")))
		w.pass(time.Second)
		if k := sys.Snapshot(w.t.Context()).Subscriptions[0].Partitions[0].Waiting[0]; k.Attempts != 2 {
			t.Errorf("retried %+v", k)
		}
	})
}

func TestSnapshotOfASuspension(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		sys := w.start(actors.Subscription{Actor: w.handler(func(*actors.Context) error {
			return supervision.Infrastructure(errors.New("database is down"))
		})})
		w.pass(time.Minute)
		if s := sys.Snapshot(w.t.Context()).Subscriptions[0]; s.Breaker == "closed" || s.Fault != "database is down" {
			t.Errorf("%+v", s)
		}
	})
}

func probe(t *testing.T, h http.Handler) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// Live is whether Run goes on; ready is whether it gets anywhere.
func TestProbes(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		sys := w.start(actors.Subscription{
			MaxParked: 1, Policy: supervision.Policy{MaxAttempts: 1}, Actor: w.handler(failing("1", 100)),
		})
		if status, body := probe(w.t, sys.Livez()); status != http.StatusOK || body != `{"live":true}` {
			t.Errorf("live: %d %s", status, body)
		}
		w.pass(time.Second)
		status, body := probe(w.t, sys.Readyz())
		if status != http.StatusServiceUnavailable || !strings.Contains(body, `"ready":false`) || !strings.Contains(body, `MaxParked by key \"k\": flaky`) {
			t.Errorf("held: %d %s", status, body)
		}
		if status, _ := probe(w.t, sys.Livez()); status != http.StatusOK {
			t.Errorf("held, live: %d", status)
		}
		w.stop()
		if status, body := probe(w.t, sys.Livez()); status != http.StatusServiceUnavailable || body != `{"live":false}` {
			t.Errorf("ended: %d %s", status, body)
		}
	})
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		sys := w.start(actors.Subscription{Actor: w.handler(ok)})
		if status, body := probe(w.t, sys.Readyz()); status != http.StatusOK || body != `{"ready":true}` {
			t.Errorf("ready: %d %s", status, body)
		}
	})
}

// Lines that come too often are held back, and counted.
func TestLogIsLimited(t *testing.T) {
	core, lines := observer.New(zap.WarnLevel)
	inWorld(t, memory.Config{}, func(w *world) {
		for i := range 100 {
			w.publish(fmt.Sprint(i), "1")
		}
		policy := supervision.Policy{MaxAttempts: 1, DeadLetter: "dead"}
		w.startWith(actors.Config{Logger: zap.New(core)}, actors.Subscription{Policy: policy, Actor: w.handler(failing("1", 1))})
		w.pass(time.Minute)
		if n := lines.FilterMessage("message dead-lettered").Len(); n != 10 {
			t.Errorf("%d lines, want 10", n)
		}
		w.publish("k", "1")
		w.pass(time.Second)
	})
	all := lines.FilterMessage("message dead-lettered").All()
	if last := all[len(all)-1]; len(all) != 11 || last.ContextMap()["held_back"] != int64(90) || last.ContextMap()["group"] != "g0" {
		t.Errorf("%d lines, the last one %v", len(all), all[len(all)-1].ContextMap())
	}
}

// What happens while somebody listens has its time; each observer is told.
func TestObservers(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		seenByOther := 0
		w.observers = append(w.observers, func(actors.Event) { seenByOther++ })
		policy := constant(2, time.Second)
		w.start(actors.Subscription{Policy: policy, Actor: w.handler(func(ctx *actors.Context) error {
			<-time.After(time.Duration(ctx.Attempt()) * time.Second)
			return failing("1", 1)(ctx)
		})})
		w.pass(time.Minute)
		if r := seen[actors.Retried](w); len(r) != 1 || r[0].Took != time.Second {
			t.Errorf("retried %+v", r)
		}
		if h := seen[actors.Handled](w); len(h) != 1 || h[0].Took != 2*time.Second {
			t.Errorf("handled %+v", h)
		}
		w.stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		if seenByOther != len(w.events) {
			t.Errorf("one observer was told of %d events, the other of %d", seenByOther, len(w.events))
		}
	})
}
