package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// extras are what few keys' actors need. They begin and end with the instance.
type extras struct {
	timers    map[string]*timer
	idleAfter int64 // the receive timeout; 0 is none
	idle      *timer
	stash     *item // put aside, in order
	lastStash *item
	stashed   int32
	children  map[string]*actor.PID
}

func (c *cell) extras() *extras {
	if c.extra == nil {
		c.extra = &extras{}
	}
	return c.extra
}

// Stash puts the event or letter being handled aside: it is neither decided nor
// lost, and comes back, in order, with [Context.UnstashAll] or at the end of the
// instance. Receive is to return nil. It counts as held, as the messages behind
// a parked key do. [ErrStashFull] says that MaxBacklog items are stashed.
func (c *Context) Stash() error {
	if e := c.cell.extra; e != nil && int(e.stashed) >= c.region.sub.cfg.MaxBacklog {
		return ErrStashFull
	}
	c.stashed = true
	return nil
}

// UnstashAll stages the return of all that was stashed: it is handled next, in
// the order of stashing, before what waits.
func (c *Context) UnstashAll() { c.staged.unstash = true }

// putAside notes a stashed item for conclude; the copy lives outside its batch.
func (t *turn) putAside(it *item) {
	it.fate = fateStashed
	c := *it.detach()
	c.next, c.fate = nil, fateSettled
	if t.lastStash == nil {
		t.stashed = &c
	} else {
		t.lastStash.next = &c
	}
	t.lastStash = &c
}

// restoreStash books what the turn put aside, and brings back what it, or the
// end of its instance, wants back. The region's lock is held.
func (r *region) restoreStash(t *turn) {
	c := t.cell
	if t.stashed != nil {
		e := c.extras()
		if e.lastStash == nil {
			e.stash = t.stashed
		} else {
			e.lastStash.next = t.stashed
		}
		e.lastStash = t.lastStash
		for it := t.stashed; it != nil; it = it.next {
			e.stashed++
			r.sched.hold(it, 1)
		}
	}
	if c.extra == nil || c.extra.stash == nil || !t.unstash && !t.discarded {
		return
	}
	e := c.extra
	for it := e.stash; it != nil; it = it.next {
		r.sched.hold(it, -1)
		if it.letter != nil {
			c.letters++
		}
	}
	r.sched.prepend(c, e.stash, e.stashed)
	e.stash, e.lastStash, e.stashed = nil, nil, 0
}

// finishInstance ends a key's actor: its hook, its children. Its timers and its
// stash are conclude's, as they need the lock. The key is this worker's.
func (r *region) finishInstance(c *cell) {
	value := c.value
	if value == nil {
		return
	}
	c.value = nil
	if r.sub.plan.stops {
		w := &Context{Context: r.ctx, region: r, cell: c, item: &noItem}
		err := guard(w, func(ctx *Context) error {
			value.(Stopper).Stopped(ctx)
			return nil
		})
		if err != nil {
			r.log.Error("the key's actor failed to stop cleanly", zap.Error(err))
		}
	}
	r.stopChildren(c)
}

// endExtras drops what ends with the instance. The region's lock is held.
func (r *region) endExtras(c *cell) {
	e := c.extra
	if e == nil {
		return
	}
	for _, t := range e.timers {
		r.timers.remove(t)
	}
	r.timers.remove(e.idle)
	c.extra = nil
	c.dropTimerLetters()
}

// dropTimerLetters takes out of the queue what timers of an ended instance put
// there.
func (c *cell) dropTimerLetters() {
	at := &c.head
	c.tail = nil
	for *at != nil {
		it := *at
		if l := it.letter; l != nil && (l.kind == letterTimer || l.kind == letterIdle) {
			*at = it.next
			c.queued--
			c.letters--
			continue
		}
		c.tail = it
		at = &it.next
	}
}

// postPassivate queues the end of the instance behind what waits.
func (r *region) postPassivate(c *cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.post(c, &letter{kind: letterPassivate})
}

// post queues a letter. The region's lock is held.
func (r *region) post(c *cell, l *letter) {
	c.letters++
	r.sched.add(c, &item{letter: l})
}

// handleLetter handles what did not come from the broker. A failure is not
// retried: nothing durable stands behind a letter. It is logged, and told to who
// asked.
func (r *region) handleLetter(w *worker, it *item) bool {
	t, l := &w.turn, it.letter
	if l.kind == letterPassivate {
		if it.next == nil && t.cell.queued == 0 && (t.cell.extra == nil || t.cell.extra.stash == nil) {
			r.finishInstance(t.cell)
			t.discarded = true
		}
		return true
	}
	t.reached = t.reached || l.kind != letterIdle
	err := r.begin(w)
	if err == nil {
		w.ctx.reset(t.cell, it, 1)
		err = r.call(w.ctx)
	}
	if err == nil {
		return r.decide(w, it)
	}
	r.log.Warn("letter to a key failed", zap.String("type", fmt.Sprintf("%T", l.value)), zap.Error(err))
	if l.sender != nil {
		r.sub.sys.actors.Root.Send(l.sender, &RequestError{Err: err})
	}
	if start := (*startError)(nil); errors.As(err, &start) || isPanic(err) {
		r.finishInstance(t.cell)
		t.discarded = true
		return false
	}
	return true
}

// deliverLetters sends what a handler staged to other actors.
func (r *region) deliverLetters(c *Context) {
	root := r.sub.sys.actors.Root
	for i := range c.staged.letters {
		l := &c.staged.letters[i]
		if l.respond {
			root.Send(l.to, l.value)
			continue
		}
		root.RequestWithCustomSender(l.to, l.value, c.Self())
	}
}

// changeTimers carries out the staged timer operations.
func (r *region) changeTimers(c *Context) {
	if len(c.staged.timers) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	e := c.cell.extras()
	for _, op := range c.staged.timers {
		if op.idle {
			e.idleAfter = int64(max(op.after, 0))
			continue
		}
		r.timers.remove(e.timers[op.name])
		delete(e.timers, op.name)
		if op.after < 0 {
			continue
		}
		t := &timer{at: now + int64(op.after), kind: timerLetter, cell: c.cell, value: op.value, name: op.name}
		if op.every {
			t.every = int64(op.after)
		}
		if e.timers == nil {
			e.timers = make(map[string]*timer)
		}
		e.timers[op.name] = t
		r.timers.add(t)
	}
	r.setAlarm(now)
}

// periodic sets a periodic timer again once its letter has been handled. The
// region's lock is held.
func (r *region) periodic(c *cell, l *letter, now int64) {
	t := l.timer
	if t == nil || t.every == 0 || c.extra == nil || c.extra.timers[t.name] != t {
		return
	}
	for t.at <= now {
		t.at += t.every
	}
	r.timers.add(t)
	r.setAlarm(now)
}

// rearmIdle sets the receive timeout anew after a turn in which something
// reached the key. The region's lock is held.
func (r *region) rearmIdle(c *cell, reached bool, now int64) {
	e := c.extra
	if e == nil || !reached {
		return
	}
	r.timers.remove(e.idle)
	e.idle = nil
	if e.idleAfter > 0 {
		e.idle = &timer{at: now + e.idleAfter, kind: timerIdle, cell: c}
		r.timers.add(e.idle)
		r.setAlarm(now)
	}
}
