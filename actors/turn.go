package actors

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// turn is one worker's go at one key: a chain of its items, worked off from the
// front until one fails, the chain ends, or the region stops.
type turn struct {
	cell    *cell
	chain   *item
	handled int32 // items from the front that are done with

	failed    bool // the item after those failed
	failure   supervision.Failure
	clock     int64         // when the next attempt begins, if somebody listens
	took      time.Duration // by the last attempt
	verdict   supervision.Verdict
	starting  bool // the instance could not be started; no message is to blame
	discarded bool // the instance ended; its timers and stash end with it
	gone      bool // it was passivated

	reached   bool  // something other than the receive timeout reached the key
	leave     bool  // the instance is to end when nothing waits for it
	back      *item // unstashed, in order
	backs     int32
	poison    bool  // handling it has probably ended the process before
	condemned bool  // dead-letter instead of handling
	probe     bool  // the breaker's
	unit      *unit // what is to be committed before the turn ends; durable keys only
}

// nextTurn takes the key that is next. The region's lock is held.
func (r *region) nextTurn(t *turn) bool {
	*t = turn{}
	if r.stops.Load() != 0 || r.solo {
		return false
	}
	for {
		c := r.sched.first
		if c == nil {
			return false
		}
		limit := r.sub.pool.turnLimit()
		if r.suspicious(c.head) {
			if r.sched.running > 0 {
				return false // the last one to end finds it again
			}
			limit, r.solo = 1, true
		}
		if c.single {
			limit = 1
		}
		c, chain, _ := r.sched.next(limit)
		if c.debts > 0 {
			r.sched.prepend(c, chain, chainLen(chain))
			r.sched.wait(c, true)
			continue
		}
		*t = turn{cell: c, chain: chain, poison: r.solo && r.convicted(chain)}
		if len(r.condemned) > 0 {
			_, t.condemned = r.condemned[c.key]
		}
		return true
	}
}

// suspicious says whether a message has been delivered so often without a
// verdict that it may be what kills the process: it is handled alone.
func (r *region) suspicious(it *item) bool {
	return it.message != nil && it.message.DeliveryCount > 1 && r.sub.cfg.Policy.Suspect(it.message.DeliveryCount)
}

// convicted says whether a suspicious message was handled alone before and still
// came to no verdict. Only the first unsettled one can be convicted: the count
// of those behind it rises with each crash as well, and proves nothing.
func (r *region) convicted(it *item) bool {
	return it.place == r.track.head && r.sub.cfg.Policy.Suspect(it.message.DeliveryCount-1)
}

// rest is what the turn has not handled.
func (t *turn) rest() *item {
	it := t.chain
	for range t.handled {
		it = it.next
	}
	return it
}

func chainLen(chain *item) (n int32) {
	for ; chain != nil; chain = chain.next {
		n++
	}
	return n
}

// run works a turn off, without the region's lock: the key is this worker's.
func (r *region) run(w *worker) {
	t := &w.turn
	if r.sub.sys.cfg.Observe != nil {
		t.clock = r.now()
	}
	stops := ^uint32(0)
	if t.probe {
		stops &^= stopSuspended
	}
	for it := t.chain; it != nil; it = it.next {
		if r.stops.Load()&stops != 0 || t.unit != nil && r.alone(it) {
			return
		}
		more := r.handle(w, it)
		if t.failed {
			return
		}
		t.handled++
		if !more {
			return
		}
	}
}

// handle handles one item. False ends the turn: before the item if it failed,
// else behind it.
func (r *region) handle(w *worker, it *item) bool {
	t := &w.turn
	if it.letter != nil {
		return r.handleLetter(w, it)
	}
	if it.known || t.unit != nil && t.unit.handled(it.message.ID) {
		return true
	}
	attempt := 1
	if t.handled == 0 {
		attempt = t.cell.attempt()
	}
	if r.alone(it) {
		r.handleAlone(w, it, attempt)
		return false
	}
	err := r.fault(t, it)
	if err == nil {
		err = r.begin(w)
	}
	if err == nil {
		w.ctx.reset(t.cell, it, attempt)
		err = r.call(w.ctx)
	}
	t.reached = true
	if r.sub.sys.cfg.Observe != nil {
		t.stop(r.now())
	}
	if err != nil {
		r.judge(t, it, attempt, err)
		return false
	}
	if !w.ctx.stashed && r.sub.plan.durable == nil {
		r.observe(func() Event { return Handled{r.place(it), attempt, t.took} })
	}
	return r.decide(w, it)
}

// stop reads the clock, which costs more than it looks: the end of one attempt is
// the beginning of the next, unless what was staged takes time in between.
func (t *turn) stop(now int64) { t.took, t.clock = time.Duration(now-t.clock), now }

// fault is what is wrong with a message before any handler has seen it.
func (r *region) fault(t *turn, it *item) error {
	switch {
	case t.condemned:
		return ErrOverflow
	case t.cell.kind == cellRefused:
		return supervision.Permanent(ErrNoKey)
	case t.poison:
		return supervision.ErrTooManyDeliveries
	}
	return nil
}

// call runs the handler with the attempt's time limit.
func (r *region) call(c *Context) (err error) {
	if timeout := r.sub.cfg.Policy.Timeout; timeout > 0 {
		err = c.limited(timeout, func() error { return guard(c, r.sub.handler.Receive) })
	} else {
		err = guard(c, r.sub.handler.Receive)
	}
	if err != nil {
		c.dropStash()
	}
	return err
}

// guard is the one place where a panic of user code becomes an error.
func guard(c *Context, f func(*Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = supervision.NewPanicError(v, debug.Stack())
		}
	}()
	return f(c)
}

// judge asks the policy what is to become of a failed item.
func (r *region) judge(t *turn, it *item, attempt int, err error) {
	now := time.Now()
	t.failed = true
	t.failure = supervision.Failure{
		Err: err, Message: it.message, Attempt: attempt, FirstAt: now, At: now,
		Delivery: it.message.DeliveryCount, Cancelled: context.Cause(r.ctx),
	}
	if tr := t.cell.trouble; tr != nil && attempt > 1 {
		t.failure.FirstAt = tr.first
	}
	t.starting = isStartError(err)
	t.discarded = t.starting || isPanic(err)
	switch {
	case t.starting: // tried again, whatever the policy says
	case t.condemned:
		t.verdict = supervision.Verdict{Kind: supervision.DeadLetter, Reason: ErrOverflow.Error()}
	case isStateError(err):
		t.verdict = r.sub.parking().Decide(t.failure)
	default:
		t.verdict = r.sub.cfg.Policy.Decide(t.failure)
	}
	if t.discarded {
		r.finishInstance(t.cell)
	}
}

// judgeExit judges the item whose handler ended its goroutine.
func (r *region) judgeExit(w *worker) {
	t := &w.turn
	w.ctx.dropStash()
	var err error = errExit
	if r.starting(t.cell) {
		err = &startError{errExit}
	}
	it := t.rest()
	if it.letter != nil {
		r.failLetter(t, it.letter, err)
		t.handled++
		return
	}
	attempt := 1
	if t.handled == 0 {
		attempt = t.cell.attempt()
	}
	r.judge(t, it, attempt, err)
}

func isPanic(err error) bool {
	var p *supervision.PanicError
	return errors.As(err, &p)
}

// decide carries out what a handler staged. The message is decided now, and
// settled when its effects are.
func (r *region) decide(w *worker, it *item) bool {
	t, c := &w.turn, w.ctx
	if r.sub.plan.durable != nil {
		r.stage(w, it)
		return true
	}
	more := r.decideStash(w, it)
	if c.staged.empty() {
		return more
	}
	r.deliverLetters(c)
	r.changeTimers(c)
	t.leave = t.leave || c.staged.passivate
	if len(c.staged.messages) == 0 {
		return more
	}
	more = r.publishStaged(t.cell, it, c.staged.takeMessages()) && more
	if r.sub.sys.cfg.Observe != nil {
		t.clock = r.now()
	}
	return more
}

// publishStaged returns false if the key must wait.
func (r *region) publishStaged(c *cell, it *item, messages []brokers.Message) bool {
	if it.message == nil {
		r.publishLoose(messages)
		return true
	}
	if r.stager != nil {
		r.enlist(it, messages)
		return true
	}
	if it.fate != fateStashed {
		it.fate = fateDecided
	}
	return r.publishEffects(c, it, messages)
}

// decideStash brings back what was stashed before, and puts the item aside if
// its handler wants it. False ends the turn, as what came back is next.
func (r *region) decideStash(w *worker, it *item) bool {
	if w.ctx.staged.unstash {
		r.mu.Lock()
		r.unstash(&w.turn)
		r.mu.Unlock()
	}
	if w.ctx.stashed {
		r.putAside(w.turn.cell, it)
	}
	return w.turn.back == nil
}

// conclude books a turn: settles what was handled, puts back the rest, and
// carries out the verdict. The region's lock is held; what it returns is to be
// called without it.
func (r *region) conclude(t *turn, now int64) (after func()) {
	if !r.ended {
		after = r.account(t, now)
	}
	if r.closing {
		return r.finishLate(t, after)
	}
	return after
}

func (r *region) account(t *turn, now int64) (after func()) {
	c := t.cell
	rest := r.book(t, now)
	if t.handled > 0 {
		c.mend(&r.timers)
		c.single = false
		r.sub.gate.succeeded()
	}
	if rest != nil {
		r.sched.prepend(c, rest, chainLen(rest))
	}
	if t.discarded {
		r.endExtras(t)
	}
	r.bringBack(t)
	if t.reached {
		r.armIdle(c, now)
	}
	if t.failed {
		after = r.apply(t, now)
	} else {
		r.sched.finish(c, now)
	}
	r.settleInstance(t)
	r.overstaged()
	r.acknowledge(now, r.solo) // so that a crash of the next suspect is not laid to this one
	r.solo = false
	r.tellRoom()
	r.setAlarm(now)
	if t.probe {
		return r.probed(t, after)
	}
	return after
}

// probed tells the breaker of a probe that went well, or that taught nothing;
// one that failed is told of as any fault is.
func (r *region) probed(t *turn, after func()) func() {
	if t.failed && t.verdict.Kind == supervision.Suspend {
		return after
	}
	learnt := t.handled > 0 || t.failed && t.verdict.Kind != supervision.GiveBack
	return func() {
		r.sub.probed(learnt)
		if after != nil {
			after()
		}
	}
}

// book settles the handled items of a turn and returns the others. What all
// workers count, it counts once for all of them.
func (r *region) book(t *turn, now int64) (rest *item) {
	it := t.chain
	handled, settled, bytes := 0, 0, 0
	for n := t.handled; n > 0; n-- {
		next := it.next
		switch {
		case it.letter != nil:
			t.cell.letters--
			r.periodic(t.cell, it.letter, now)
		case it.fate == fateSettled:
			if r.track.settle(it.place) {
				settled++
				bytes += int(it.size)
			}
			fallthrough
		case it.fate == fateDecided:
			handled++
		}
		it.next = nil
		it = next
	}
	if settled > 0 {
		r.settled(settled, bytes)
	}
	if handled > 0 {
		r.sub.counts.handled.Add(int64(handled))
	}
	return it
}

func (r *region) place(it *item) Place {
	p := r.placeOf()
	if it != nil && it.message != nil {
		p.Offset, p.Key, p.ID = it.message.Offset, it.message.Key, it.message.ID
	}
	return p
}

func (r *region) placeOf() Place {
	return Place{
		Group: r.sub.cfg.Group, Topic: r.part.Topic(), Partition: r.part.ID(),
		Epoch: r.part.Epoch(), Offset: brokers.NoOffset,
	}
}

func (r *region) logFailure(msg string, f supervision.Failure, fields ...zap.Field) {
	r.log.Warn(msg, append(fields, zap.Error(f.Err), zap.Int("attempt", f.Attempt))...)
}
