package actors

import (
	"fmt"

	"go.uber.org/zap"
)

// overflowing says whether the region is at a limit because of parked keys, and
// acts on it once. The region's lock is held.
func (r *region) overflowing() bool {
	limit := r.limitReached()
	if limit == "" {
		r.overflow = r.overflow && r.stagedFull()
		return false
	}
	if c := r.culprit(limit); c != nil {
		r.overflowed(c, limit)
	}
	return true
}

// The limits that parked keys can reach, as events and Health name them.
const (
	limitParked = "MaxParked"
	limitGap    = "MaxGap"
	limitTime   = "MaxParkTime"
	limitStaged = "MaxStaged"
)

func (r *region) limitReached() string {
	cfg := &r.sub.cfg
	switch {
	case r.sched.held >= cfg.MaxParked || r.sched.heldBytes >= cfg.MaxInFlightBytes:
		return limitParked
	case !r.sub.individualAcks && r.track.gap() >= cfg.MaxGap:
		return limitGap
	}
	return ""
}

// culprit is the waiting key to blame: the one with the longest queue or, for
// the gap and what is staged, the one at the low-water mark.
func (r *region) culprit(limit string) *cell {
	var worst *cell
	first := limit == limitGap || limit == limitStaged
	for c := range r.sched.waiting {
		if c.head == nil || c.trouble == nil {
			continue
		}
		if first && c.head.message != nil && c.head.place == r.track.head {
			return c
		}
		if worst == nil || c.queued > worst.queued {
			worst = c
		}
	}
	if first {
		return nil
	}
	return worst
}

// overflowed holds the partition, or gives the key up.
func (r *region) overflowed(c *cell, limit string) {
	giveUp := r.sub.cfg.OnOverflow == OverflowDeadLetterKey && c.kind == cellKeyed
	if r.overflow && !giveUp {
		return
	}
	r.overflow = true
	place := r.place(c.head)
	r.log.Error("limit reached because of a parked key", zap.String("limit", limit),
		zap.ByteString("key", place.Key), zap.Bool("given_up", giveUp), zap.Error(c.trouble.failure.Err))
	r.observe(func() Event { return Overflowed{place, limit, giveUp} })
	if giveUp {
		r.condemn(c)
	}
}

// overstayed acts on a key that has been parked for MaxParkTime.
func (r *region) overstayed(c *cell) {
	if c.trouble == nil || c.head == nil {
		return
	}
	r.overflow = false
	r.overflowed(c, limitTime)
}

// holding says what a held partition waits for; "" if it is not held.
func (r *region) holding() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.limitReached()
	if limit == "" && r.stagedFull() {
		limit = limitStaged
	}
	if limit == "" {
		return ""
	}
	c := r.culprit(limit)
	if c == nil {
		return "held at " + limit
	}
	return fmt.Sprintf("held at %s by key %q: %v", limit, c.key, c.trouble.failure.Err)
}

// condemn dead-letters the key's messages, in order, until it is released.
func (r *region) condemn(c *cell) {
	if r.condemned == nil {
		r.condemned = make(map[string]struct{})
	}
	r.condemned[c.key] = struct{}{}
	if tr := c.trouble; tr != nil {
		r.timers.remove(tr.wake)
	}
	if c.debts > 0 {
		return
	}
	r.sched.wake(c, r.now())
	r.spawn()
}

// pardon lets a condemned key be handled again.
func (r *region) pardon(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.condemned[key]
	delete(r.condemned, key)
	return was
}

// retryNow ends the waiting of a parked key.
func (r *region) retryNow(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.sched.cells[key]
	if c == nil || c.state != cellWaiting || c.trouble == nil || c.debts > 0 || c.trouble.attempts+c.trouble.starts == 0 {
		return false
	}
	r.timers.remove(c.trouble.wake)
	r.sched.wake(c, r.now())
	r.spawn()
	return true
}
