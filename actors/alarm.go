package actors

import "time"

// setAlarm makes the region look at its timers when the earliest is due. The
// region's lock is held.
func (r *region) setAlarm(now int64) {
	at, ok := r.timers.next()
	if p := r.nextPassivation(); p > 0 && (!ok || p < at) {
		at, ok = p, true
	}
	if !ok || r.ended || r.alarmAt > 0 && r.alarmAt <= at {
		return
	}
	r.alarmAt = at
	d := time.Duration(max(at-now, 0))
	if r.alarm == nil {
		r.alarm = time.AfterFunc(d, r.ring)
		return
	}
	r.alarm.Reset(d)
}

// nextPassivation is when the key that has been idle for longest is to be
// passivated; 0 is never.
func (r *region) nextPassivation() int64 {
	if r.sched.oldest == nil || r.sub.cfg.PassivateAfter < 0 {
		return 0
	}
	return r.sched.oldest.idleSince + int64(r.sub.cfg.PassivateAfter)
}

// ring is the alarm: it carries out what is due.
func (r *region) ring() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	now := r.now()
	r.alarmAt = 0
	for t := r.timers.due(now); t != nil; t = r.timers.due(now) {
		r.fire(t, now)
	}
	r.passivate(now)
	r.setAlarm(now)
	r.spawn()
	r.tellRoom()
}

func (r *region) fire(t *timer, now int64) {
	switch t.kind {
	case timerWake:
		if t.cell.debts > 0 {
			return // the last confirmation wakes it
		}
		r.sched.wake(t.cell, now)
	case timerParkTime:
		r.overstayed(t.cell)
	case timerLetter:
		r.post(t.cell, &letter{kind: letterTimer, value: t.value, timer: t})
	case timerIdle:
		r.post(t.cell, &letter{kind: letterIdle, value: ReceiveTimeout{}, timer: t})
	case timerResend:
		r.sub.pool.wg.Go(t.decision.resend)
	}
}

// passivate ends the actors that have been idle for too long. Those with a hook
// or with anything that hangs on them end in a turn of their own.
func (r *region) passivate(now int64) {
	if r.stops.Load()&stopEnding != 0 {
		return // drain ends them
	}
	for at := r.nextPassivation(); at > 0 && at <= now; at = r.nextPassivation() {
		c := r.sched.oldest
		switch {
		case c.owed():
			r.sched.unlinkIdle(c)
			r.sched.linkIdle(c, now) // it is owed something: look again later
		case r.lasting(c):
			r.post(c, &letter{kind: letterPassivate})
		default:
			r.sched.forget(c)
		}
	}
}
