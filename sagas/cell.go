package sagas

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// cell is the actor of an instance: one event at a time. It is there while events
// or Calls of the instance are.
type cell[S any] struct {
	id   string
	refs int // under the runner's lock

	mu     sync.Mutex // held while an event is handled
	loaded bool
	record Record
	in     Instance[S]
	def    *Definition[S]
}

// enter locks an instance's cell.
func (r *Runner[S]) enter(id string) *cell[S] {
	r.mu.Lock()
	c := r.cells[id]
	if c == nil {
		c = &cell[S]{id: id}
		r.cells[id] = c
	}
	c.refs++
	r.mu.Unlock()
	c.mu.Lock()
	return c
}

func (r *Runner[S]) leave(c *cell[S]) {
	c.mu.Unlock()
	r.release(c)
}

func (r *Runner[S]) release(c *cell[S]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.refs--; c.refs == 0 {
		delete(r.cells, c.id)
	}
}

// take makes a stored instance the cell's.
func (c *cell[S]) take(r *Runner[S], record Record) error {
	var in Instance[S]
	if err := json.Unmarshal(record.Instance, &in); err != nil {
		return fmt.Errorf("sagas: stored instance %q: %w", c.id, err)
	}
	to, ok := r.target(record.Version)
	if !ok && !in.Status.Ended() {
		return &VersionError{r.name, record.Version, 1, []string{c.id}}
	}
	for v := record.Version; ok && v < to; v++ {
		var err error
		if in, err = r.cfg.Migrate[v](in); err != nil {
			return fmt.Errorf("sagas: migrate %q from version %d: %w", c.id, v, err)
		}
		in.Version = v + 1
	}
	c.def = r.byVer[to]
	if c.def != nil && (len(in.Outcomes) != len(c.def.Steps) || in.Work.Step >= len(c.def.Steps)) {
		return fmt.Errorf("%w: %q has %d outcomes at version %d of %d steps", ErrMismatch, c.id, len(in.Outcomes), to, len(c.def.Steps))
	}
	c.record, c.in, c.loaded = record, in, true
	return nil
}

func (c *cell[S]) load(ctx context.Context, r *Runner[S]) error {
	if c.loaded {
		return nil
	}
	record, err := r.cfg.Store.Load(ctx, r.name, c.id)
	if err != nil {
		return err
	}
	return c.take(r, record)
}

// occasion is how an event came about.
type occasion struct {
	event Event
	// handled is the message that it came with, if one did.
	handled *brokers.Message
}

// tell has an instance handle an event, and returns when that is stored. The error
// is [ErrRepeat] if the event came with a message which was handled before.
func (r *Runner[S]) tell(ctx context.Context, id string, o occasion) error {
	c := r.enter(id)
	defer r.leave(c)
	for {
		if err := c.load(ctx, r); err != nil {
			return err
		}
		if c.def == nil { // it has ended, at a version that is gone
			return ErrEnded
		}
		t, err := c.def.Advance(c.in, o.event, time.Now())
		if err != nil {
			return err
		}
		u, err := r.unit(c, t, o)
		if err != nil {
			return err
		}
		switch err := r.commits.commit(ctx, u); {
		case err == nil:
			r.committed(c, u, t)
			return nil
		case errors.Is(err, ErrConflict):
			c.loaded = false
		case errors.Is(err, ErrRepeat):
			return err
		default:
			c.loaded = false // the outcome is unknown
			return err
		}
	}
}

// told is tell for those whom Close does not wait for.
func (r *Runner[S]) told(ctx context.Context, id string, o occasion) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.wg.Done()
	return r.tell(ctx, id, o)
}

// unit is a transition as it is to be stored.
func (r *Runner[S]) unit(c *cell[S], t Transition[S], o occasion) (Unit, error) {
	in := t.Instance
	encoded, err := in.encode()
	if err != nil {
		return Unit{}, fmt.Errorf("sagas: encode %q: %w", in.ID, err)
	}
	u := Unit{Log: t.Log, Record: Record{
		Definition: in.Definition, ID: in.ID, Version: in.Version, Revision: c.record.Revision, Status: in.Status,
		Digest: c.record.Digest, Instance: encoded, Timer: c.record.Timer, Deadline: c.record.Deadline, Changed: time.Now(),
	}}
	for _, timer := range t.Timers {
		if timer.Token == 0 {
			u.Record.Deadline = timer.At
		} else {
			u.Record.Timer = timer
		}
	}
	if fired, ok := o.event.(TimerFired); ok && fired.Timer.Token == 0 {
		u.Record.Deadline = time.Time{}
	}
	if in.Status == Stuck || in.Status.Ended() {
		u.Record.Timer = Timer{}
	}
	if in.Status.Ended() {
		u.Record.Deadline = time.Time{}
	}
	if len(c.def.Resume(in)) > 0 {
		u.Record.Owner = r.cfg.Name
	}
	if o.handled != nil {
		u.Handled = o.handled.ID
	}
	return u, r.publish(&u, t, o)
}

// committed carries out a transition that was stored.
func (r *Runner[S]) committed(c *cell[S], u Unit, t Transition[S]) {
	c.record, c.in, c.loaded = u.Record, t.Instance, true
	c.record.Revision++
	r.carryOut(c, t.Calls)
	r.expect(c.record.Due())
	for i := range u.Log {
		r.tellLog(c.id, &u.Log[i])
	}
	if t.Instance.Status.Ended() {
		r.ended(t.Instance)
	}
	if r.cfg.Observe != nil {
		for i := range u.Log {
			r.cfg.Observe(r.lifecycle(&u, i, t.Instance))
		}
	}
}

// tellLog logs what an operator wants to see: failures, and what he did himself.
func (r *Runner[S]) tellLog(id string, e *Entry) {
	level := zap.InfoLevel
	switch e.What {
	case GotStuck:
		level = zap.ErrorLevel
	case AttemptFailed, OutcomeLost:
		level = zap.WarnLevel
	case GoingBack, StepLeft, Acted, CancelNoted, CancelRefused:
	default:
		return
	}
	r.log.Log(level, "saga: "+string(e.What), zap.String("id", id), zap.String("step", e.Step), zap.Stringer("verb", e.Verb),
		zap.Int("attempt", e.Attempt), zap.String("reason", e.Reason), zap.String("who", e.Who))
}

func digest(state []byte) []byte {
	sum := sha256.Sum256(state)
	return sum[:]
}
