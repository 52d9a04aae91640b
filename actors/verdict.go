package actors

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrOverflow is the failure of the messages of a key that was given up under
// OverflowDeadLetterKey, until [System.ReleaseKey].
var ErrOverflow = errors.New("actors: backlog of the key was given up")

// trouble is what a cell remembers while something is wrong with its head.
type trouble struct {
	failure  supervision.Failure // the last one
	attempts int                 // that burned
	starts   int                 // failed starts of the instance in a row
	first    time.Time
	parked   bool
	until    int64  // the next try, on the region's clock
	wake     *timer // for that
	limit    *timer // MaxParkTime
}

// attempt is the number of the next attempt at the head.
func (c *cell) attempt() int {
	if c.trouble == nil {
		return 1
	}
	return 1 + c.trouble.attempts
}

// mend forgets the trouble of a head that was handled.
func (c *cell) mend(timers *timerQueue) {
	tr := c.trouble
	if tr == nil {
		return
	}
	timers.remove(tr.wake)
	timers.remove(tr.limit)
	c.trouble = nil
}

func (c *cell) troubled() *trouble {
	if c.trouble == nil {
		c.trouble = &trouble{}
	}
	return c.trouble
}

// apply carries out the verdict on the message at the head of the turn's key.
// The region's lock is held; what it returns is to be called without it.
func (r *region) apply(t *turn, now int64) (after func()) {
	c, v := t.cell, t.verdict
	if t.starting {
		r.startAgain(t, now)
		return nil
	}
	switch v.Kind {
	case supervision.GiveBack:
		r.sched.wait(c, false)
	case supervision.Retry:
		r.retry(t, now)
	case supervision.Park:
		r.park(t, now)
	case supervision.DeadLetter:
		return r.bury(t, now)
	case supervision.Discard:
		r.discard(t, now)
	case supervision.Suspend:
		r.sub.suspend(t.failure)
		r.sched.finish(c, now)
	case supervision.Stop:
		r.sched.wait(c, false)
		stopped := &StoppedError{Place: r.place(c.head), Failure: t.failure, Reason: v.Reason}
		return func() { r.sub.sys.stop(stopped) }
	}
	return nil
}

// startAgain lets the key wait until its instance is to be started again.
func (r *region) startAgain(t *turn, now int64) {
	tr := t.cell.troubled()
	tr.starts++
	tr.failure = t.failure
	after := r.sub.mending(tr.starts, t.cell.key)
	r.logFailure("the key's actor could not be started", t.failure, zap.Duration("retry_in", after))
	r.await(t.cell, after, now)
}

func (r *region) retry(t *turn, now int64) {
	tr := t.cell.worsen(t.failure)
	r.sub.counts.retried.Add(1)
	r.observe(func() Event {
		return Retried{Place: r.place(t.cell.head), Failure: t.failure, Attempt: tr.attempts, After: t.verdict.After, Took: t.took}
	})
	r.log.Debug("attempt failed", zap.Error(t.failure.Err), zap.Int("attempt", tr.attempts), zap.Duration("retry_in", t.verdict.After))
	r.await(t.cell, t.verdict.After, now)
}

func (r *region) park(t *turn, now int64) {
	tr := t.cell.worsen(t.failure)
	r.sub.counts.retried.Add(1)
	if !tr.parked {
		tr.parked = true
		r.logFailure("key parked", t.failure, zap.Duration("retry_in", t.verdict.After))
		if limit := r.sub.cfg.MaxParkTime; limit > 0 {
			tr.limit = &timer{at: now + int64(limit), kind: timerParkTime, cell: t.cell}
			r.timers.add(tr.limit)
		}
	}
	r.observe(func() Event {
		return Parked{Place: r.place(t.cell.head), Failure: t.failure, Attempt: tr.attempts, After: t.verdict.After, Took: t.took}
	})
	r.await(t.cell, t.verdict.After, now)
}

// worsen books a burnt attempt.
func (c *cell) worsen(f supervision.Failure) *trouble {
	tr := c.troubled()
	if tr.attempts == 0 {
		tr.first = f.At
	}
	tr.attempts++
	tr.failure = f
	return tr
}

// longWait is from when on a waiting key's messages count as held (MaxParked)
// rather than as in flight, and are copied out of the batches they came in,
// whose memory they would keep. Shorter waits end before that would help.
const longWait = time.Second

// await lets the key start nothing for a while.
func (r *region) await(c *cell, d time.Duration, now int64) {
	tr := c.troubled()
	tr.until = now + int64(d)
	tr.wake = &timer{at: tr.until, kind: timerWake, cell: c}
	r.timers.add(tr.wake)
	if d >= longWait {
		c.detach()
	}
	r.sched.wait(c, d >= longWait)
	r.setAlarm(now)
}

// detach copies all queued messages out of their batches.
func (c *cell) detach() {
	var last *item
	for at := &c.head; *at != nil; at = &(*at).next {
		*at = (*at).detach()
		last = *at
	}
	c.tail = last
}

func (r *region) discard(t *turn, now int64) {
	it := r.sched.pop(t.cell)
	r.settle(it.place, it.size)
	t.cell.mend(&r.timers)
	r.sub.counts.discarded.Add(1)
	r.observe(func() Event {
		return Discarded{Place: r.place(it), Failure: t.failure, Reason: t.verdict.Reason, Took: t.took}
	})
	r.log.Debug("message discarded", zap.Error(t.failure.Err), zap.String("reason", t.verdict.Reason))
	r.sched.finish(t.cell, now)
}

// bury sends the head to the dead-letter topic. The key starts nothing until the
// broker has confirmed it.
func (r *region) bury(t *turn, now int64) (after func()) {
	if r.stager != nil {
		r.buryStaged(t)
		return nil
	}
	if r.sub.cfg.Policy.Reject {
		return r.reject(t, now)
	}
	c := t.cell
	it := r.sched.pop(c)
	letter, brief := r.deadLetters(it, t)
	c.mend(&r.timers)
	c.burying = true
	r.sched.wait(c, false)
	d := r.newDecision(c, it, []brokers.Message{letter}, true)
	d.buried = r.deadLettered(it, t)
	d.brief = &brief
	return func() { d.send() }
}

// reject leaves the head to the broker's own dead-letter exchange. Nothing confirms
// that, so the key goes on.
func (r *region) reject(t *turn, now int64) (after func()) {
	it := r.sched.pop(t.cell)
	if r.track.reject(it.place) {
		r.settled(1, int(it.size))
	}
	t.cell.mend(&r.timers)
	r.sched.finish(t.cell, now)
	buried := r.deadLettered(it, t)
	return func() { r.tellBuried(buried) }
}

// deadLetters makes the letter of a message, and one with less about the failure.
func (r *region) deadLetters(it *item, t *turn) (letter, brief brokers.Message) {
	info := supervision.NewLetter(t.failure, t.verdict)
	info.Group, info.Host, info.Broker = r.sub.cfg.Group, r.sub.sys.host, r.sub.cfg.Broker.Name()
	to := r.sub.cfg.Policy.DeadLetter
	return supervision.Encode(it.message, info, to), supervision.Encode(it.message, info.Brief(), to)
}

func (r *region) deadLettered(it *item, t *turn) *DeadLettered {
	return &DeadLettered{Place: r.place(it), Failure: t.failure, Reason: t.verdict.Reason, Took: t.took}
}

// tellBuried tells of a dead letter.
func (r *region) tellBuried(b *DeadLettered) {
	r.sub.counts.deadLettered.Add(1)
	r.observe(func() Event { return *b })
	r.logFailure("message dead-lettered", b.Failure, zap.String("reason", b.Reason), zap.Int64("offset", b.Offset))
}
