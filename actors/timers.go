package actors

import "time"

// timerOp is a staged change of a key's timers.
type timerOp struct {
	name  string
	after time.Duration // negative cancels
	every bool
	value any
	idle  bool // the receive timeout
}

// After stages a one-shot timer: value reaches the key as a letter after d. A
// timer of the same name is replaced. Timers end with the instance: passivation
// does not wait for them, and they are not durable.
func (c *Context) After(d time.Duration, name string, value any) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: max(d, 0), value: value})
}

// Every stages a periodic timer: value reaches the key as a letter every d,
// which is at least 1 ms. A period that passes while the last letter still waits
// is skipped. A timer of the same name is replaced.
func (c *Context) Every(d time.Duration, name string, value any) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: max(d, time.Millisecond), every: true, value: value})
}

// CancelTimer stages the end of a timer. Its letter does not come any more, also
// if it is due already and waits behind this message; only one that was stashed
// comes back.
func (c *Context) CancelTimer(name string) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: -1})
}

// SetReceiveTimeout stages the receive timeout: when nothing has reached the key
// for d, it gets a [ReceiveTimeout] once, and again after the next thing that
// reached it and another d. The time begins when Receive has returned. Failed
// attempts and letters count, the end of a child included; the timeout itself
// does not, but may set it anew. 0 ends it.
func (c *Context) SetReceiveTimeout(d time.Duration) {
	c.staged.timers = append(c.staged.timers, timerOp{idle: true, after: max(d, 0)})
}

// changeTimers carries out the staged timer operations.
func (r *region) changeTimers(c *Context) {
	if len(c.staged.timers) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, op := range c.staged.timers {
		if op.idle {
			c.cell.extras().idleAfter = int64(op.after)
			r.armIdle(c.cell, now)
			continue
		}
		r.changeTimer(c.cell, op, now)
	}
	r.setAlarm(now)
}

func (r *region) changeTimer(c *cell, op timerOp, now int64) {
	e := c.extras()
	r.timers.remove(e.timers[op.name])
	delete(e.timers, op.name)
	if op.after < 0 {
		return
	}
	t := &timer{at: after(now, int64(op.after)), kind: timerLetter, cell: c, owner: e, name: op.name, value: op.value}
	if op.every {
		t.every = int64(op.after)
	}
	if e.timers == nil {
		e.timers = make(map[string]*timer)
	}
	e.timers[op.name] = t
	r.timers.add(t)
}

// periodic sets a periodic timer again once its letter has been handled. The
// region's lock is held.
func (r *region) periodic(c *cell, l *letter, now int64) {
	t := l.timer
	if t == nil || t.every == 0 || c.extra == nil || c.extra.timers[t.name] != t {
		return
	}
	if late := now - t.at; late >= 0 {
		t.at = after(t.at, (late/t.every+1)*t.every)
	}
	r.timers.add(t)
	r.setAlarm(now)
}

// armIdle lets the receive timeout begin anew. The region's lock is held.
func (r *region) armIdle(c *cell, now int64) {
	e := c.extra
	if e == nil || e.idle == nil && e.idleAfter == 0 {
		return
	}
	if e.idleAfter == 0 {
		r.timers.remove(e.idle)
		e.idle = nil
		return
	}
	if e.idle == nil || e.idle.slot == 0 { // one that is due is another: its letter may be on its way
		e.idle = &timer{kind: timerIdle, cell: c, owner: e}
	}
	e.idle.at = after(now, e.idleAfter)
	r.timers.add(e.idle)
	r.setAlarm(now)
}

// stale says whether the letter of a timer comes too late: its instance has
// ended, or it was cancelled, replaced or, if it is the receive timeout, belied
// while it waited. What was stashed had come in time. Only the key's turn
// changes what this looks at.
func (t *turn) stale(it *item) bool {
	set, e := it.letter.timer, t.cell.extra
	switch {
	case set == nil:
		return false
	case set.owner != e:
		return true
	case it.stashes > 0:
		return false
	case set.kind == timerIdle:
		return t.reached || e.idle != set
	}
	return e.timers[set.name] != set
}

// spend forgets a one-shot timer whose letter is being handled.
func (t *turn) spend(l *letter) {
	if l.timer != nil && l.timer.kind == timerLetter && l.timer.every == 0 {
		delete(t.cell.extra.timers, l.timer.name)
	}
}
