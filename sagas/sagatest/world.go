package sagatest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
)

// World runs sagas in virtual time: a store in memory, whose outbox delivers at once,
// participants that are a function, and as many runners as are opened. It is made in
// a bubble of testing/synctest, or in an Example by actortest.Run; days of time-outs
// pass in no time there. A reply that a runner does not take is delivered again each
// second, to the runner that was opened last, as a broker would do.
type World[S any] struct {
	// Config of the runners. Its Store is Store, and the other fields are set; a
	// test may change them before Open.
	Config sagas.Config[S]
	// Store may be looked into.
	Store *sagas.Memory
	// Answer is what participants do with a command: the result, and why, if it is
	// not Accepted; 0 is silence. It is called in a goroutine for each command, so by
	// several at once, and may wait. Defaults to accepting all.
	Answer func(command *brokers.Message) (result sagas.Result, reason string)

	t       actortest.TB
	mu      sync.Mutex
	sent    []brokers.Message
	runner  *sagas.Runner[S] // opened last
	runners []*sagas.Runner[S]
	wg      sync.WaitGroup
	over    chan struct{}
}

// NewWorld is a world for one saga. Its runners are closed when the test ends.
func NewWorld[S any](t actortest.TB, definition *sagas.Definition[S]) *World[S] {
	w := &World[S]{t: t, over: make(chan struct{})}
	w.Store = &sagas.Memory{Publish: w.publish}
	w.Config = sagas.Config[S]{
		Definitions: []*sagas.Definition[S]{definition}, Store: w.Store, Name: "me", Replies: "replies", DeadLetters: "dead",
	}
	w.Answer = func(*brokers.Message) (sagas.Result, string) { return sagas.Accepted, "" }
	t.Cleanup(w.end)
	return w
}

func (w *World[S]) end() {
	close(w.over)
	for _, r := range w.runners {
		w.Close(r)
	}
	w.wg.Wait()
}

// publish is the outbox.
func (w *World[S]) publish(messages []brokers.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range messages {
		w.sent = append(w.sent, m)
		if m.ReplyTo != "" {
			w.wg.Go(func() { w.participate(&m) })
		}
	}
}

// participate answers a command.
func (w *World[S]) participate(m *brokers.Message) {
	result, reason := w.Answer(m)
	if result == 0 {
		return
	}
	reply, err := sagas.Answer(m, result, reason, nil)
	if err != nil {
		w.t.Errorf("answer: %v", err)
		return
	}
	for {
		err := w.current().Reply(context.Background(), reply)
		switch {
		case err == nil:
			return
		case errors.Is(err, sagas.ErrNoReply):
			w.t.Errorf("reply %s: %v", reply.CorrelationID, err)
			return
		}
		select {
		case <-w.over:
			return
		case <-time.After(time.Second):
		}
	}
}

func (w *World[S]) current() *sagas.Runner[S] {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runner
}

// Open opens a runner. That of the same name before it can do nothing more.
func (w *World[S]) Open() *sagas.Runner[S] {
	w.t.Helper()
	r, err := sagas.Open(context.Background(), w.Config)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runner, w.runners = r, append(w.runners, r)
	return r
}

// Close closes a runner.
func (w *World[S]) Close(r *sagas.Runner[S]) {
	w.t.Helper()
	if err := r.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

// Start starts an instance.
func (w *World[S]) Start(r *sagas.Runner[S], id string, state S) *sagas.Handle[S] {
	w.t.Helper()
	h, err := r.Start(context.Background(), id, state)
	if err != nil {
		w.t.Fatalf("start %q: %v", id, err)
	}
	return h
}

// patience is how long Ends waits, in virtual time.
const patience = 1000 * time.Hour

// Ends waits for the end of an instance, expects its status, and returns it.
func (w *World[S]) Ends(h *sagas.Handle[S], want sagas.Status) sagas.Instance[S] {
	w.t.Helper()
	e := w.ended(h)
	if e.Instance.Status != want {
		w.t.Fatalf("%s is %v (%s); want %v\nwhat happened:\n%s", h.ID(), e.Instance.Status, e.Instance.Reason, want, Timeline(e.Timeline))
	}
	return e.Instance
}

// log is the timeline, for a failure.
func (w *World[S]) log(h *sagas.Handle[S]) []sagas.Entry {
	log, err := h.Timeline(context.Background())
	if err != nil {
		w.t.Errorf("timeline of %q: %v", h.ID(), err)
	}
	return log
}

// Sent is all that was published so far.
func (w *World[S]) Sent() []brokers.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// Topics are those of what was published, in order, but for some.
func (w *World[S]) Topics(without ...string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.sent {
		if !slices.Contains(without, w.sent[i].Topic) {
			all = append(all, w.sent[i].Topic)
		}
	}
	return all
}
