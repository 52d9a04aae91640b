package actors

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// decision is a message whose handling is over and whose effects are on their
// way. It is settled when the broker has confirmed all of them. What fails is
// published again, and the handler is not run again; meanwhile its key starts
// nothing.
//
// So that no effect of a key passes an earlier one that the broker refused, one
// effect of a key is on its way at a time, and decisions of a key form a chain.
// Where the broker sequences (brokers.Features.SequencedPublish) they all are on
// their way at once, in order; there, what is refused for good may be overtaken
// by what was already sent.
//
// Its fields are guarded by the region's lock, but for messages.
type decision struct {
	region   *region
	key      string
	kind     cellKind
	cell     *cell // only if the key waits for the decision
	place    uint64
	size     int32
	messages []brokers.Message
	left     int       // unconfirmed
	failed   []int     // to be published again, in order
	tries    int       // failures in a row
	waiting  bool      // for the time to publish them again
	over     bool      // settled or abandoned
	owing    bool      // counted in the key's debts
	stashed  bool      // its message is stashed, and not settled by it
	chained  bool      // one effect at a time
	next     *decision // of the key, to be published after this one
	buried   *DeadLettered
	brief    *brokers.Message // the dead letter with less about the failure
}

// shorten has a dead letter that is too large for the broker published again
// with less about the failure. The original it carries is never cut.
func (d *decision) shorten(err error) error {
	if d.brief != nil && errors.Is(err, brokers.ErrTooLarge) {
		d.messages[0], d.brief = *d.brief, nil
	}
	return err
}

// mendBackoff paces what must succeed in the end: effects, and the start of an
// instance, where the policy sets no back-off.
var mendBackoff = supervision.Exponential(100*time.Millisecond, 30*time.Second)

func (s *subscription) mending(tries int, key string) time.Duration {
	b := s.cfg.Policy.Backoff
	if b == nil {
		b = mendBackoff
	}
	return b.Delay(tries, uint64(len(key)))
}

// publishEffects publishes what a handler staged, after what its key is still
// publishing. It returns false if the key must wait.
func (r *region) publishEffects(c *cell, it *item, messages []brokers.Message) bool {
	r.mu.Lock()
	d := r.newDecision(c, it, messages, false)
	d.stashed = it.fate == fateStashed
	d.chained = !r.sub.sequenced && c.kind != cellEphemeral
	if d.chained {
		before := c.deciding
		c.deciding = d
		if before != nil && !before.over {
			before.next = d
			r.mu.Unlock()
			return true
		}
	}
	r.mu.Unlock()
	return d.send()
}

// newDecision books a decision; holds makes the key wait for it. The region's
// lock is held.
func (r *region) newDecision(c *cell, it *item, messages []brokers.Message, holds bool) *decision {
	r.deciding++
	d := &decision{
		region: r, key: c.key, kind: c.kind, place: it.place, size: it.size,
		messages: messages, left: len(messages),
	}
	if holds {
		d.cell = c
	}
	return d
}

// send hands the messages to the publisher, which may make it wait for room. It
// returns false if the key must wait, as not all were taken.
func (d *decision) send() bool {
	if d.chained {
		return d.publish([]int{0})
	}
	return d.publish(nil)
}

// publish hands over the messages of the given indexes; nil means all.
func (d *decision) publish(which []int) bool {
	n := len(which)
	if which == nil {
		n = len(d.messages)
	}
	for k := range n {
		i := k
		if which != nil {
			i = which[k]
		}
		err := d.region.sub.publisher.PublishAsync(d.region.ctx, d.messages[i], func(_ brokers.Receipt, err error) {
			d.confirmed(i, err)
		})
		if err != nil {
			d.fail(err, which, k, n)
			return false
		}
	}
	return true
}

// fail books that the messages from the k-th on were not even taken.
func (d *decision) fail(err error, which []int, k, n int) {
	d.region.mu.Lock()
	defer d.region.mu.Unlock()
	for ; k < n; k++ {
		i := k
		if which != nil {
			i = which[k]
		}
		d.failed = append(d.failed, i)
	}
	d.owe(d.shorten(err))
}

// confirmed books what the broker said of one message.
func (d *decision) confirmed(i int, err error) {
	r := d.region
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		d.failed = append(d.failed, i)
		d.owe(d.shorten(err))
		return
	}
	d.tries = 0
	if d.left--; d.left == 0 {
		d.settled()
		return
	}
	if d.chained {
		r.sub.pool.wg.Go(func() { d.publish([]int{i + 1}) })
	}
}

func (d *decision) settled() {
	r := d.region
	d.finish()
	if r.ended {
		return
	}
	now := r.now()
	if !d.stashed {
		r.settle(d.place, d.size)
	}
	d.release(now)
	if c := r.find(d.key, d.kind); c != nil && c.deciding == d {
		c.deciding = nil
	}
	if next := d.next; next != nil {
		r.sub.pool.wg.Go(func() { next.send() })
	}
	if d.buried != nil {
		r.tellBuried(d.buried)
	}
	r.acknowledge(now, false)
	r.tellRoom()
	r.spawn()
}

// release lets the key go on that waited for the decision.
func (d *decision) release(now int64) {
	if d.owing {
		d.owing = false
		c := d.region.find(d.key, d.kind)
		if c != nil {
			c.debts--
			d.region.unburden(c, now)
		}
	}
	if d.cell != nil {
		d.cell.burying = false
		if d.cell.debts == 0 {
			d.region.sched.wake(d.cell, now)
		}
		d.region.retire(d.cell)
	}
}

// unburden lets a key go on whose last debt is paid, unless it waits for its
// back-off besides.
func (r *region) unburden(c *cell, now int64) {
	if c.debts > 0 || c.burying || c.state != cellWaiting || c.trouble != nil && c.trouble.until > now {
		return
	}
	r.sched.wake(c, now)
	r.retire(c)
}

// owe makes the key wait and has what failed published again after a while. The
// region's lock is held.
func (d *decision) owe(err error) {
	r := d.region
	if r.ended || r.ctx.Err() != nil || errors.Is(err, brokers.ErrClosed) {
		d.finish()
		return
	}
	now := r.now()
	if !d.owing && d.cell == nil && d.kind != cellEphemeral && d.kind != cellRefused {
		d.owing = true
		d.burden(now)
	}
	if d.waiting {
		return
	}
	d.waiting = true
	d.tries++
	after := r.sub.mending(d.tries, d.key)
	r.log.Error("effects of a handled message could not be published; they are tried again",
		zap.Error(err), zap.String("to", d.messages[0].Topic), zap.Int("attempt", d.tries), zap.Duration("retry_in", after))
	r.timers.add(&timer{at: now + int64(after), kind: timerResend, decision: d})
	r.setAlarm(now)
}

// burden makes the key of the decision start nothing until it is published.
func (d *decision) burden(now int64) {
	r := d.region
	c := r.find(d.key, d.kind)
	if c == nil {
		if d.kind == cellLane {
			c = r.sched.laneCell()
		} else {
			c = r.sched.keyed([]byte(d.key))
		}
		r.sched.linkIdle(c, now)
	}
	c.debts++
}

// finish takes the decision off the books of drain: settled, or given up with
// its epoch, in which case the message goes to the next owner.
func (d *decision) finish() {
	if d.over {
		return
	}
	d.over = true
	d.region.deciding--
	if d.left > 0 && d.next != nil {
		d.next.finish()
	}
	if d.region.deciding == 0 {
		signal(d.region.quiet)
	}
}

// resend publishes again what failed. It runs in a goroutine of its own, as it
// may have to wait for room.
func (d *decision) resend() {
	d.region.mu.Lock()
	which := d.failed
	d.failed, d.waiting = nil, false
	d.region.mu.Unlock()
	slices.Sort(which)
	d.publish(which)
}

// find returns the cell of a key, nil if there is none now.
func (r *region) find(key string, kind cellKind) *cell {
	switch kind {
	case cellLane:
		return r.sched.lane
	case cellKeyed:
		return r.sched.cells[key]
	}
	return nil
}

// publishLoose publishes what a letter's handler staged. Nothing durable stands
// behind a letter, so what fails for good is logged.
func (r *region) publishLoose(messages []brokers.Message) {
	for _, m := range messages {
		lost := func(_ brokers.Receipt, err error) {
			if err != nil {
				r.log.Error("effect of a letter was not published", zap.String("to", m.Topic), zap.Error(err))
			}
		}
		if err := r.sub.publisher.PublishAsync(r.ctx, m, lost); err != nil {
			lost(brokers.Receipt{}, err)
		}
	}
}
