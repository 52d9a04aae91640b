package sagas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrStarted says that an instance of the id was started with another state. It is
// not the one that was asked for: use another id.
var ErrStarted = errors.New("sagas: started with another state")

// ErrClosed says that the runner was closed.
var ErrClosed = errors.New("sagas: runner closed")

// Handle is an instance that was started. It may be used concurrently, and needs no
// end.
type Handle[S any] struct {
	r  *Runner[S]
	id string
}

// Start starts an instance, and returns when that it is to begin is stored. If there
// is one of that id which was started with an equal state (as JSON), it returns its
// handle; with another state the error is [ErrStarted]. An id may hold any text
// that is a key of the broker.
func (r *Runner[S]) Start(ctx context.Context, id string, state S) (*Handle[S], error) {
	if id == "" {
		return nil, errors.New("sagas: id is empty")
	}
	input, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("sagas: encode the state of %q: %w", id, err)
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.wg.Done()
	c := r.enter(id)
	defer r.leave(c)
	if !c.loaded {
		c.def, c.record = r.latest, Record{Digest: digest(input)}
		t := r.latest.Begin(id, state, time.Now())
		if r.cfg.Trace != nil {
			t.Instance.Trace = r.cfg.Trace(ctx, r.name, id)
		}
		u, err := r.unit(c, t, occasion{})
		if err != nil {
			return nil, err
		}
		switch err := r.commits.commit(ctx, u); {
		case err == nil:
			r.committed(c, u, t)
			return &Handle[S]{r, id}, nil
		case !errors.Is(err, ErrConflict):
			return nil, err
		}
		if err := c.load(ctx, r); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(c.record.Digest, digest(input)) {
		return nil, fmt.Errorf("%w: %q of %q", ErrStarted, id, r.name)
	}
	return &Handle[S]{r, id}, nil
}

// Find returns the handle of an instance, or [ErrNotFound].
func (r *Runner[S]) Find(ctx context.Context, id string) (*Handle[S], error) {
	h := &Handle[S]{r, id}
	_, err := h.Query(ctx)
	return h, err
}

// ID is the instance's.
func (h *Handle[S]) ID() string { return h.id }

// Query returns the instance as it is stored.
func (h *Handle[S]) Query(ctx context.Context) (Instance[S], error) {
	record, err := h.r.cfg.Store.Load(ctx, h.r.name, h.id)
	if err != nil {
		return Instance[S]{}, err
	}
	c := cell[S]{id: h.id}
	err = c.take(h.r, record)
	return c.in, err
}

// Cancel has the instance go back, as soon as the outcome of its step is known. It
// returns when that is stored. The error is [ErrPastPivot] or [ErrEnded] if it
// cannot.
func (h *Handle[S]) Cancel(ctx context.Context, reason string) error {
	return h.r.told(ctx, h.id, occasion{event: CancelAsked{reason}})
}

// Wait waits until the instance has ended, and returns it. One that is stuck has
// not: set a deadline on ctx.
func (h *Handle[S]) Wait(ctx context.Context) (Instance[S], error) {
	w := h.r.await(h.id)
	defer h.r.forgo(h.id, w)
	for poll := h.r.cfg.Poll; ; poll = min(2*poll, 16*h.r.cfg.Poll) {
		in, err := h.look(ctx)
		if err != nil || in.Status.Ended() {
			return in, err
		}
		timer := time.NewTimer(poll) // another runner may end it
		select {
		case <-w.ended:
			timer.Stop()
			return w.instance, nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return in, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// look is Query, without the store while the instance is at work here.
func (h *Handle[S]) look(ctx context.Context) (Instance[S], error) {
	h.r.mu.Lock()
	c := h.r.cells[h.id]
	if c != nil {
		c.refs++
	}
	h.r.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		in, loaded := c.in, c.loaded
		h.r.leave(c)
		if loaded {
			return in, nil
		}
	}
	return h.Query(ctx)
}

// waiter is those who wait for an instance.
type waiter[S any] struct {
	ended    chan struct{}
	instance Instance[S] // once it has ended
	n        int
}

func (r *Runner[S]) await(id string) *waiter[S] {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiters[id]
	if w == nil {
		w = &waiter[S]{ended: make(chan struct{})}
		r.waiters[id] = w
	}
	w.n++
	return w
}

func (r *Runner[S]) forgo(id string, w *waiter[S]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.n--; w.n == 0 && r.waiters[id] == w {
		delete(r.waiters, id)
	}
}

func (r *Runner[S]) ended(in Instance[S]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.waiters[in.ID]; w != nil {
		delete(r.waiters, in.ID)
		w.instance = in
		close(w.ended)
	}
}

// Instances returns instances in the order of their ids: the stuck ones with
// Selection{Statuses: []Status{Stuck}}.
func (r *Runner[S]) Instances(ctx context.Context, q Selection) ([]Instance[S], error) {
	records, err := r.cfg.Store.List(ctx, r.name, q)
	if err != nil {
		return nil, err
	}
	all := make([]Instance[S], len(records))
	for i := range records {
		c := cell[S]{id: records[i].ID}
		if err := c.take(r, records[i]); err != nil {
			return nil, err
		}
		all[i] = c.in
	}
	return all, nil
}

// Timeline returns all that has happened to the instance.
func (h *Handle[S]) Timeline(ctx context.Context) ([]Entry, error) {
	return h.r.cfg.Store.Timeline(ctx, h.r.name, h.id)
}

// Operate carries out what a person decided about a stuck instance, and returns
// when that is stored. The error is [ErrNotStuck] or [ErrEnded] if it is not stuck.
func (h *Handle[S]) Operate(ctx context.Context, operation Operation, who, reason string) error {
	return h.r.told(ctx, h.id, occasion{event: OperatorActed{operation, who, reason}})
}
