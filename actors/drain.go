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
	if r.acquire() {
		_ = r.fetch() // it ends because the partition does, which its context tells of
	}
	r.drain()
	r.release(r.part.Context().Err() != nil) // it may have been lost while it drained
}

// drain starts nothing more, waits for what runs and for effects on their way,
// and ends the key actors: within DrainTimeout, and while the epoch lives. Then
// handlers are told to end, with cause brokers.ErrRevoked.
func (r *region) drain() {
	r.drainUntil = time.Now().Add(r.sub.sys.cfg.DrainTimeout)
	r.stops.Or(stopEnding)
	defer r.cancel(brokers.ErrRevoked)
	limit, cancel := context.WithTimeout(r.ctx, r.sub.sys.cfg.DrainTimeout)
	defer cancel()
	if !awaitQuiet(r, limit.Done(), true) {
		r.callOff()
	}
	r.endInstances(limit)
}

// callOff tells handlers to end, and waits a little.
func (r *region) callOff() {
	r.cancel(brokers.ErrRevoked)
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	if !awaitQuiet(r, grace.C, false) {
		r.log.Error("a handler goes on although its context has ended; the partition is released all the same")
	}
}

// awaitQuiet waits until no worker runs and, if asked for, no effect is on its
// way.
func awaitQuiet[L any](r *region, limit <-chan L, effects bool) bool {
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
		}
	}
}

// release sends the last acknowledgements, ends the keys' children and gives the
// partition back.
func (r *region) release(lost bool) {
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
	r.refuseLetters()
	r.stopPartitionActor() // before another owner's begin
	limit, cancel := context.WithTimeout(context.Background(), r.farewell())
	defer cancel()
	if err := r.part.Close(limit); err != nil && !errors.Is(err, brokers.ErrRevoked) {
		r.log.Warn("the last acknowledgements may not have arrived; those messages are handled again", zap.Error(err))
	}
	if lost {
		r.log.Warn("partition lost", zap.Int("given_back", unsettled))
		r.observe(func() Event { return PartitionLost{r.placeOf(), unsettled} })
		return
	}
	r.observe(func() Event { return PartitionRevoked{r.placeOf(), unsettled} })
}

// farewell is how long the last acknowledgements may take. With what was staged
// they are the result of much work, for which the rest of DrainTimeout is given.
func (r *region) farewell() time.Duration {
	if r.stager == nil {
		return drainGrace
	}
	return max(drainGrace, time.Until(r.drainUntil))
}
