package actors

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// drainGrace is how long handlers that were told to end may take before the
// partition is released over their heads.
const drainGrace = time.Second

// live serves the partition for its epoch: it reads until the partition is
// wanted back or lost, lets what runs finish, acknowledges, and releases.
func (r *region) live() {
	r.actor = r.spawnPartitionActor()
	err := r.fetch()
	r.drain(err)
	r.release(r.part.Context().Err() != nil) // it may have been lost while it drained
}

// drain starts nothing more and waits for what runs and for effects on their
// way: within DrainTimeout, and while the epoch lives. Then handlers are told to
// end, with cause brokers.ErrRevoked.
func (r *region) drain(_ error) {
	r.stops.Or(stopEnding)
	limit := time.NewTimer(r.sub.sys.cfg.DrainTimeout)
	defer limit.Stop()
	drained := r.awaitQuiet(limit.C, r.ctx.Done(), true)
	r.cancel(brokers.ErrRevoked)
	if drained {
		return
	}
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	if !r.awaitQuiet(grace.C, nil, false) {
		r.log.Error("a handler goes on although its context has ended; the partition is released all the same")
	}
}

// awaitQuiet waits until no worker runs and, if asked for, no effect is on its
// way.
func (r *region) awaitQuiet(limit <-chan time.Time, ended <-chan struct{}, effects bool) bool {
	for {
		r.mu.Lock()
		quiet := r.workers == 0 && (!effects || r.deciding == 0)
		r.mu.Unlock()
		if quiet {
			return true
		}
		select {
		case <-r.quiet:
		case <-limit:
			return false
		case <-ended:
			return false
		}
	}
}

// release ends the key actors, sends the last acknowledgements and gives the
// partition back.
func (r *region) release(lost bool) {
	r.endInstances()
	r.mu.Lock()
	r.ended = true
	if r.alarm != nil {
		r.alarm.Stop()
	}
	ack, ok := r.track.take()
	unsettled, bytes := r.track.unsettled(), r.bytes
	r.mu.Unlock()
	r.sub.sys.budget.sub(unsettled, bytes)
	r.sub.counts.givenBack.Add(int64(unsettled))
	if ok {
		if err := r.part.Ack(ack); err == nil {
			r.observe(func() Event { return Acknowledged{r.placeOf(), ack.UpTo, len(ack.Above)} })
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	if err := r.part.Close(limit); err != nil && !errors.Is(err, brokers.ErrRevoked) {
		r.log.Warn("the last acknowledgements may not have arrived; those messages are handled again", zap.Error(err))
	}
	r.stopPartitionActor()
	if lost {
		r.log.Warn("partition lost", zap.Int("given_back", unsettled))
		r.observe(func() Event { return PartitionLost{r.placeOf(), unsettled} })
		return
	}
	r.observe(func() Event { return PartitionRevoked{r.placeOf(), unsettled} })
}

// endInstances ends the actors of all keys that no worker has.
func (r *region) endInstances() {
	r.mu.Lock()
	var ending []*cell
	for _, c := range r.sched.cells {
		if c.state != cellRunning && c.value != nil {
			ending = append(ending, c)
		}
	}
	if c := r.sched.lane; c != nil && c.state != cellRunning && c.value != nil {
		ending = append(ending, c)
	}
	r.mu.Unlock()
	for _, c := range ending {
		r.finishInstance(c)
	}
}
