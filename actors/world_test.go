package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a memory broker and a system over it, in virtual time.
type world struct {
	t      *testing.T
	broker *memory.Broker
	topics int // partitions of each
	pub    *brokers.Publisher
	sys    *actors.System
	born   time.Time
	cancel context.CancelFunc
	ended  chan struct{}
	report actors.Report
	err    error

	observers []func(actors.Event) // besides its own

	mu     sync.Mutex
	log    []string
	events []actors.Event
}

// inWorld runs f in virtual time with a broker of one partition per topic,
// unless the config says otherwise.
func inWorld(t *testing.T, cfg memory.Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Partitions == 0 {
			cfg.Partitions = 1
		}
		w := &world{t: t, broker: memory.New(cfg), topics: cfg.Partitions, born: time.Now()}
		var err error
		w.pub, err = w.broker.Publisher(brokers.PublisherConfig{})
		w.must(err)
		defer func() { // also after a failure, as a bubble may not leave goroutines
			w.stop()
			if err := errors.Join(w.pub.Close(context.Background()), w.broker.Close()); err != nil {
				t.Error(err)
			}
			<-time.After(2 * time.Second) // protoactor's throttle of dead-letter lines
		}()
		f(w)
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start runs a system of the subscriptions, filling in group, broker and topic.
func (w *world) start(subs ...actors.Subscription) *actors.System {
	w.t.Helper()
	return w.startWith(actors.Config{}, subs...)
}

func (w *world) startWith(cfg actors.Config, subs ...actors.Subscription) *actors.System {
	w.t.Helper()
	cfg.Observe = actors.Observers(append(w.observers, w.observe)...)
	for i := range subs {
		subs[i].Broker = w.broker
		if subs[i].Group == "" {
			subs[i].Group = fmt.Sprintf("g%d", i)
		}
		if subs[i].Topics == nil {
			subs[i].Topics = []string{"in"}
		}
		for _, topic := range subs[i].Topics {
			w.must(w.broker.EnsureTopic(w.t.Context(), brokers.TopicConfig{Name: topic, Partitions: w.topics}))
		}
	}
	sys, err := actors.NewSystem(cfg, subs...)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	w.sys, w.cancel, w.ended = sys, cancel, make(chan struct{})
	go func() {
		defer close(w.ended)
		w.report, w.err = sys.Run(ctx)
	}()
	synctest.Wait()
	return sys
}

// stop drains the system, if one runs, and returns its report.
func (w *world) stop() actors.Report {
	if w.cancel != nil {
		w.cancel()
		<-w.ended
	}
	return w.report
}

func (w *world) observe(e actors.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// seen returns the events of a type so far.
func seen[E actors.Event](w *world) (events []E) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if x, ok := e.(E); ok {
			events = append(events, x)
		}
	}
	return events
}

// publish sends payloads under a key to the topic "in".
func (w *world) publish(key string, payloads ...string) {
	w.t.Helper()
	for _, p := range payloads {
		w.send(brokers.Message{Topic: "in", ID: key + "/" + p, Key: []byte(key), Payload: []byte(p)})
	}
}

func (w *world) send(messages ...brokers.Message) {
	w.t.Helper()
	_, err := w.pub.Publish(context.Background(), messages...)
	w.must(err)
}

// note adds a line to the log: what happened, and when in virtual time.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// at is the virtual time since the world began, to the millisecond.
func (w *world) at() time.Duration { return time.Since(w.born).Round(time.Millisecond) }

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// expect waits until nothing moves, and compares the log.
func (w *world) expect(lines ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.log, lines) {
		w.t.Fatalf("log is\n%q\nwant\n%q", w.log, lines)
	}
	w.log = nil
}

// expectAnyOrder is expect where different keys have no order.
func (w *world) expectAnyOrder(lines ...string) {
	w.t.Helper()
	synctest.Wait()
	got := w.forget()
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		w.t.Fatalf("log, sorted, is\n%q\nwant\n%q", got, lines)
	}
}

// forget empties the log and returns it.
func (w *world) forget() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// position is the first offset of the partition that the group has not
// acknowledged as a prefix.
func (w *world) position(group string) int64 {
	w.t.Helper()
	synctest.Wait()
	p, err := w.broker.Server().Progress(group, "in", 0)
	w.must(err)
	return p.Position
}

// payloads of all messages of a topic, in order of partition and offset.
func (w *world) payloads(topic string) (all []string) {
	synctest.Wait()
	for _, m := range w.broker.Server().Messages(topic) {
		all = append(all, string(m.Payload))
	}
	return all
}

var errFlaky = errors.New("flaky")

// handler notes "key:payload" and returns what f says of the attempt.
func (w *world) handler(f func(ctx *actors.Context) error) actors.Actor {
	return actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
		err := f(ctx)
		outcome := ""
		if err != nil {
			outcome = " " + err.Error()
		}
		w.note("%s:%s%s", ctx.Event().Key, ctx.Event().Payload, outcome)
		return err
	}))
}

func ok(*actors.Context) error { return nil }

// failing fails the first n attempts of one payload.
func failing(payload string, n int) func(*actors.Context) error {
	return func(ctx *actors.Context) error {
		if string(ctx.Event().Payload) == payload && ctx.Attempt() <= n {
			return errFlaky
		}
		return nil
	}
}
