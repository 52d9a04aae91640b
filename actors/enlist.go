package actors

import (
	"errors"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// In a subscription that is Transactional the driver keeps what messages led to, and
// commits it with their acknowledgement. So a message is settled as soon as it is
// decided, and nothing is published again here: what fails to be committed the
// driver tries again, or ends the epoch, and this region with all instances.

// enlist gives what a message led to to the driver. If the epoch has ended, it
// counts for nothing, and neither does the message's acknowledgement.
func (r *region) enlist(it *item, messages []brokers.Message) {
	switch err := r.stager.Stage(it.message.Offset, messages...); {
	case err == nil:
	case errors.Is(err, brokers.ErrRevoked):
		r.log.Debug("what was staged came after the end of the epoch", zap.Error(err))
	default:
		r.log.Error("what was staged is lost: the driver refused it", zap.Int64("offset", it.message.Offset), zap.Error(err))
	}
}

// buryStaged has the head's dead letter count with its acknowledgement. There is no
// second try with a shorter letter, so one that may be too large is short from the
// beginning. The region's lock is held.
func (r *region) buryStaged(t *turn) {
	c, now := t.cell, r.now()
	it := r.sched.pop(c)
	letter, brief := r.deadLetters(it, t)
	if letter.Size() > orDefault(r.sub.cfg.Publisher.MaxMessageBytes, 1<<20) {
		letter = brief
	}
	c.mend(&r.timers)
	r.enlist(it, []brokers.Message{letter})
	r.settle(it.place, it.size)
	r.tellBuried(r.deadLettered(it, t))
	r.sched.finish(c, now)
}

// stagedFull says whether the driver holds the partition because of what is staged.
func (r *region) stagedFull() bool { return r.stager != nil && r.stager.Full() }

// overstaged acts on the key that keeps what is staged from being committed. The
// region's lock is held.
func (r *region) overstaged() {
	if !r.stagedFull() {
		return
	}
	if c := r.culprit(limitStaged); c != nil {
		r.overflowed(c, limitStaged)
	}
}
