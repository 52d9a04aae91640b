package actors

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// extras are what few keys' actors need. They begin and end with the instance.
// Only the key's own turn changes them.
type extras struct {
	timers    map[string]*timer
	idleAfter int64  // the receive timeout; 0 is none
	idle      *timer // for that; out of the queue once its letter is on its way
	stash     *item  // put aside, in order
	lastStash *item
	stashed   int32
	children  map[string]*actor.PID // by name
}

func (c *cell) extras() *extras {
	if c.extra == nil {
		c.extra = &extras{}
	}
	return c.extra
}

// errExit is the failure of user code that ended its goroutine.
var errExit = supervision.NewPanicError("the handler called runtime.Goexit", nil)

// noItem is what the hooks of an instance handle: nothing.
var noItem item

// startError marks the failure of an instance to start.
type startError struct{ err error }

func (e *startError) Error() string { return "actors: start of the key's actor: " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func isStartError(err error) bool {
	var start *startError
	return errors.As(err, &start)
}

// begin makes the key's instance if it has none. It is the key's only once its
// start hook has succeeded.
func (r *region) begin(w *worker) error {
	c, plan := w.turn.cell, r.sub.plan
	if plan.make == nil || c.value != nil {
		return nil
	}
	w.ctx.reset(c, &noItem, 1)
	var value any
	err := guard(w.ctx, func(ctx *Context) error {
		value = plan.make(c.key)
		if s, ok := value.(*state); ok {
			return s.load(ctx)
		}
		if !plan.starts {
			return nil
		}
		return value.(Starter).Started(ctx)
	})
	switch {
	case isStateError(err):
		return err
	case err != nil:
		return &startError{err}
	}
	c.value = value
	r.deliverLetters(w.ctx)
	r.changeTimers(w.ctx)
	w.turn.leave = w.turn.leave || w.ctx.staged.passivate
	r.publishLoose(w.ctx.staged.takeMessages())
	return nil
}

// starting says whether the key's instance was being started when its goroutine
// ended.
func (r *region) starting(c *cell) bool { return r.sub.plan.make != nil && c.value == nil }

// finishInstance ends a key's actor: its hook, its children. Its timers and its
// stash are conclude's, as they need the lock. The key is the caller's.
func (r *region) finishInstance(c *cell) {
	value := c.value
	c.value = nil
	defer r.stopChildren(c)
	if value == nil || !r.sub.plan.stops {
		return
	}
	if err := r.callStopped(c, value.(Stopper)); err != nil {
		r.log.Error("the key's actor failed to stop cleanly", zap.String("key", c.key), zap.Error(err))
	}
}

// callStopped calls the stop hook in a goroutine of its own, which it may end:
// it must not take with it the one that ends the instance.
func (r *region) callStopped(c *cell, s Stopper) error {
	var err error = errExit
	var hook sync.WaitGroup
	hook.Go(func() {
		err = guard(newContext(r, c, &noItem), func(ctx *Context) error {
			s.Stopped(ctx)
			return nil
		})
	})
	hook.Wait()
	return err
}

// endExtras drops what ends with the instance; its stash comes back. The
// region's lock is held.
func (r *region) endExtras(t *turn) {
	r.unstash(t)
	e := t.cell.extra
	if e == nil {
		return
	}
	for _, set := range e.timers {
		r.timers.remove(set)
	}
	r.timers.remove(e.idle)
	t.cell.extra = nil
}

// passivateNow ends the instance at its letter's place in the queue, unless
// something came in the meantime.
func (r *region) passivateNow(t *turn, it *item) {
	if it.next != nil || r.wanted(t.cell) {
		return
	}
	r.finishInstance(t.cell)
	t.discarded, t.gone = true, true
}

// wanted says whether something waits for the key's instance.
func (r *region) wanted(c *cell) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.head != nil || c.extra != nil && c.extra.stash != nil
}

// depart ends an instance that was told to go, as soon as nothing waits for it.
// The region's lock is held.
func (r *region) depart(c *cell) {
	if c.leaving && c.state == cellIdle && (c.extra == nil || c.extra.stash == nil) {
		r.post(c, &letter{kind: letterPassivate})
	}
}

// settleInstance lets the instance of a turn go, or its cell, if nobody needs it
// any more. The region's lock is held.
func (r *region) settleInstance(t *turn) {
	c := t.cell
	c.leaving = !t.discarded && (c.leaving || t.leave)
	if t.gone && c.state == cellIdle && c.found() && !c.owed() {
		r.sched.forget(c)
		return
	}
	r.depart(c)
	r.retire(c)
}

// retire drops the cell of a single message once that is done with; an instance
// that has hooks or anything hanging on it ends first, in a turn of its own.
// Others stay for their next message, until they are passivated. The region's
// lock is held.
func (r *region) retire(c *cell) {
	if c.state != cellIdle || c.kind != cellEphemeral && c.kind != cellRefused {
		return
	}
	if r.lasting(c) {
		r.post(c, &letter{kind: letterPassivate})
		return
	}
	r.sched.forget(c)
}

// lasting says whether the end of the key's instance takes a turn.
func (r *region) lasting(c *cell) bool {
	return c.extra != nil || c.value != nil && r.sub.plan.stops
}

// owed says whether something of the key is not done with, so that its cell must
// stay. The region's lock is held.
func (c *cell) owed() bool {
	return c.trouble != nil || c.debts > 0 || c.deciding != nil || c.extra != nil && c.extra.stash != nil
}

// endInstances ends the actors of all keys that no worker has, several at once,
// and waits for their stop hooks: until limit ends, then with their context
// ended, then no longer.
func (r *region) endInstances(limit context.Context) {
	ending := r.instances()
	if len(ending) == 0 {
		return
	}
	var hooks sync.WaitGroup
	var next atomic.Int64
	for range min(len(ending), r.sub.cfg.Concurrency) {
		hooks.Add(1)
		r.sub.pool.wg.Go(func() {
			defer hooks.Done()
			for i := next.Add(1); i <= int64(len(ending)); i = next.Add(1) {
				r.finishInstance(ending[i-1])
			}
		})
	}
	ended := make(chan struct{})
	r.sub.pool.wg.Go(func() { hooks.Wait(); close(ended) })
	if endsWithin(limit.Done(), ended) {
		return
	}
	r.cancel(brokers.ErrRevoked)
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	if !endsWithin(grace.C, ended) {
		r.log.Error("stop hooks go on although their context has ended; the partition is released all the same")
	}
}

// finishLate ends the instance of a turn that outlived its region, after what
// else is to be done.
func (r *region) finishLate(t *turn, after func()) func() {
	c := t.cell
	var refused []undelivered
	if r.ended {
		refused = r.lettersOf(r.lettersOf(nil, c, t.rest()), c, t.back)
	}
	return func() {
		if after != nil {
			after()
		}
		r.finishInstance(c)
		r.refuseAll(refused)
	}
}

// endsWithin waits for an end, and says whether it came before the limit.
func endsWithin[L any](limit <-chan L, end <-chan struct{}) bool {
	select {
	case <-end:
		return true
	case <-limit:
		return false
	}
}

// instances are the cells whose instances have a stop hook to be called. From
// now on a worker that still runs ends the instance it has.
func (r *region) instances() (ending []*cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	if !r.sub.plan.stops {
		return nil
	}
	for c := range r.sched.all() {
		if c.state != cellRunning && c.value != nil {
			ending = append(ending, c)
		}
	}
	return ending
}
