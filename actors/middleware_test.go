package actors_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// timed notes what is handled, and when.
func (w *world) timed() actors.Actor {
	return w.handler(func(ctx *actors.Context) error {
		w.note("%v", w.at())
		return nil
	})
}

func TestTimeout(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1")
		w.start(actors.Subscription{
			Middleware: []actors.Middleware{actors.Timeout(time.Second)},
			Policy:     constant(1, time.Hour),
			Actor: w.handler(func(ctx *actors.Context) error {
				<-ctx.Done()
				w.note("%v", w.at())
				return errors.Join(ctx.Err(), nil)
			}),
		})
		w.pass(2 * time.Second)
		w.expect("1s", "k:1 context deadline exceeded")
	})
}

func TestRateLimits(t *testing.T) {
	for name, test := range map[string]struct {
		middleware actors.Middleware
		want       []string
	}{
		"global":  {actors.RateLimit(rate.NewLimiter(1, 1)), []string{"0s", "a:1", "1s", "a:2", "2s", "a:3"}},
		"per key": {actors.RateLimitPerKey(2, 1), []string{"0s", "a:1", "500ms", "a:2", "1s", "a:3"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.publish("a", "1", "2", "3")
				w.start(actors.Subscription{Middleware: []actors.Middleware{test.middleware}, Actor: w.timed()})
				w.pass(time.Minute)
				w.expect(test.want...)
			})
		})
	}
}

// Keys do not slow each other down, and those that are at rest are forgotten.
func TestRateLimitPerKeyIsOfEachKey(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		for i := range 3000 {
			w.publish(fmt.Sprint(i), "1")
		}
		w.start(actors.Subscription{Middleware: []actors.Middleware{actors.RateLimitPerKey(1, 1)}, Actor: w.handler(ok)})
		if n := len(w.forget()); n != 3000 {
			t.Errorf("%d handled at once, want 3000", n)
		}
	})
}

func TestDeduplicate(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{
			Middleware: []actors.Middleware{actors.Deduplicate(time.Minute, 100)},
			Policy:     constant(2, time.Second),
			Actor:      w.handler(failing("2", 1)),
		})
		w.publish("k", "1", "1", "2", "2")
		w.pass(time.Second)
		w.expect("k:1", "k:2 flaky", "k:2")
		w.publish("k", "1")
		w.expect()
		w.pass(time.Minute)
		w.publish("k", "1")
		w.expect("k:1")
		w.send(brokers.Message{Topic: "in", Key: []byte("k"), Payload: []byte("3")}, brokers.Message{Topic: "in", Key: []byte("k"), Payload: []byte("3")})
		w.expect("k:3", "k:3")
		if got := w.position("g0"); got != 8 {
			t.Errorf("position %d, want 8: what is passed over is settled", got)
		}
	})
}

// What a handler publishes has the correlation of what it handles.
func TestCorrelation(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.send(
			brokers.Message{Topic: "in", ID: "1", Key: []byte("k"), CorrelationID: "own"},
			brokers.Message{Topic: "in", ID: "2", Key: []byte("k"), Headers: brokers.Headers{{Key: "x-request-id", Value: []byte("of a header")}}},
			brokers.Message{Topic: "in", ID: "3", Key: []byte("k")},
		)
		w.start(actors.Subscription{
			Middleware: []actors.Middleware{actors.Correlation("x-request-id", func() string { return "made" })},
			Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				w.note("%s", ctx.CorrelationID())
				return ctx.Publish("out", []byte("x"))
			})),
		})
		w.expect("own", "of a header", "made")
		for i, want := range []string{"own", "of a header", "made"} {
			if got := w.broker.Server().Messages("out")[i].CorrelationID; got != want {
				t.Errorf("published with %q, want %q", got, want)
			}
		}
	})
}

// The trace of a message goes on in what its handler publishes, and stays with
// its dead letter; middleware may carry another.
func TestTraceGoesOn(t *testing.T) {
	trace := brokers.Headers{
		{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
		{Key: "tracestate", Value: []byte("a=1")},
		{Key: "other", Value: []byte("x")},
	}
	for name, test := range map[string]struct {
		carry brokers.Headers
		want  string
	}{
		"passed on": {nil, string(trace[0].Value) + " a=1 "},
		"carried":   {brokers.Headers{{Key: "traceparent", Value: []byte("own")}}, "own a=1 "},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.send(brokers.Message{Topic: "in", ID: "1", Key: []byte("k"), Headers: trace, Payload: []byte("1")})
				policy := constant(1, time.Second)
				policy.DeadLetter = "dead"
				w.start(actors.Subscription{
					Policy: policy,
					Middleware: []actors.Middleware{func(next actors.Handler) actors.Handler {
						return actors.HandlerFunc(func(ctx *actors.Context) error {
							ctx.Carry(test.carry...)
							return next.Receive(ctx)
						})
					}},
					Actor: w.handler(func(ctx *actors.Context) error {
						w.must(ctx.PublishNow(ctx, "out", []byte("x")))
						return errFlaky
					}),
				})
				w.pass(time.Second)
				h := w.broker.Server().Messages("out")[0].Headers
				if got := h.Text("traceparent") + " " + h.Text("tracestate") + " " + h.Text("other"); got != test.want {
					t.Errorf("published with %q, want %q", got, test.want)
				}
				if got := w.broker.Server().Messages("dead")[0].Headers.Text("traceparent"); got != string(trace[0].Value) {
					t.Errorf("dead letter with %q", got)
				}
			})
		})
	}
}
