package memory

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// epoch is a partition that a subscription owns for a time, of either mode.
type epoch struct {
	sub    *subscription
	share  *share // nil in a competing group
	topic  string
	id     int32
	number uint64
	source source

	ctx      context.Context
	cancel   context.CancelCauseFunc
	revoking chan struct{}
	more     chan struct{} // of capacity 1: there may be something to take

	// Guarded by Server.mu.
	recalled bool        // revoking is closed
	deadline *time.Timer // ends the epoch when its owner does not close it

	acks acks

	closing atomic.Bool
	closed  chan struct{}
	result  error // of Close; readable when closed is
}

var _ brokers.Partition = (*epoch)(nil)

// newEpoch needs Server.mu.
func newEpoch(sub *subscription, s *share, topic string, id int32, number uint64, src source) *epoch {
	e := &epoch{
		sub: sub, share: s, topic: topic, id: id, number: number, source: src,
		revoking: make(chan struct{}), more: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	e.acks.stage = newStage(sub.cfg)
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	src.watch(e.more)
	e.server().open[e] = struct{}{}
	return e
}

func (e *epoch) Topic() string             { return e.topic }
func (e *epoch) ID() int32                 { return e.id }
func (e *epoch) Epoch() uint64             { return e.number }
func (e *epoch) Context() context.Context  { return e.ctx }
func (e *epoch) Revoking() <-chan struct{} { return e.revoking }

func (e *epoch) server() *Server { return e.sub.conn.server }

// Fetch implements [brokers.Partition].
func (e *epoch) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	limit.Messages = max(limit.Messages, 1)
	for {
		if err := e.stopped(ctx); err != nil {
			return nil, err
		}
		held, delay := e.server().faults.delivery.state()
		if held == nil && !(e.sub.cfg.Transactional && e.full()) && (delay == 0 || e.lingered(ctx, delay)) {
			if batch := e.source.take(limit); len(batch) > 0 {
				return batch, nil
			}
		}
		select {
		case <-e.more:
		case <-held:
		case <-ctx.Done():
		case <-e.revoking:
		case <-e.ctx.Done():
		}
	}
}

// lingered waits for d if there is something to take, and says whether it may
// be taken then.
func (e *epoch) lingered(ctx context.Context, d time.Duration) bool {
	if e.source.lag() == 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-e.revoking:
	case <-e.ctx.Done():
	}
	return e.stopped(ctx) == nil
}

// stopped says why nothing may be fetched now.
func (e *epoch) stopped(ctx context.Context) error {
	select {
	case <-e.ctx.Done():
		return context.Cause(e.ctx)
	case <-e.revoking:
		return brokers.ErrRevoked
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

// Close implements [brokers.Partition].
func (e *epoch) Close(ctx context.Context) error {
	if !e.closing.CompareAndSwap(false, true) {
		<-e.closed
		return e.result
	}
	e.result = e.drainAcks(ctx)
	e.server().release(e)
	close(e.closed)
	return e.result
}

// The following need Server.mu.

// recall asks the owner to close the epoch, and ends it when that takes too long.
func (e *epoch) recall() {
	if e.recalled {
		return
	}
	e.recalled = true
	close(e.revoking)
	if e.ctx.Err() != nil {
		return
	}
	e.deadline = time.AfterFunc(e.sub.cfg.DrainTimeout, func() { e.server().expire(e) })
}

// end makes the epoch count for nothing from now on. It may be repeated.
func (e *epoch) end(cause error) {
	if e.ctx.Err() != nil {
		return
	}
	delete(e.server().open, e)
	e.endAcks(cause)
	e.source.end(e.more)
	e.cancel(cause)
	if e.deadline != nil {
		e.deadline.Stop()
	}
	if e.share != nil {
		e.share.owner = nil
	}
}
