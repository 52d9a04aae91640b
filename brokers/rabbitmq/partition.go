package rabbitmq

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// epochs numbers the epochs of this process.
var epochs atomic.Uint64

// partition is an epoch: a feed that has shown, by a delivery, that the queue is
// this member's. See [brokers.Partition].
type partition struct {
	feed  *feed
	epoch uint64

	revoking   chan struct{}
	revokeOnce sync.Once
	closeOnce  sync.Once
	closed     chan struct{} // by the owner
}

var _ brokers.Partition = (*partition)(nil)

func newPartition(f *feed) *partition {
	return &partition{feed: f, epoch: epochs.Add(1), revoking: make(chan struct{}), closed: make(chan struct{})}
}

// Topic implements [brokers.Partition].
func (p *partition) Topic() string { return p.feed.slot.Topic }

// ID implements [brokers.Partition].
func (p *partition) ID() int32 { return p.feed.slot.Partition }

// Epoch implements [brokers.Partition].
func (p *partition) Epoch() uint64 { return p.epoch }

// Context implements [brokers.Partition].
func (p *partition) Context() context.Context { return p.feed.ctx }

// Revoking implements [brokers.Partition].
func (p *partition) Revoking() <-chan struct{} { return p.revoking }

// Fetch implements [brokers.Partition].
func (p *partition) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	for {
		if err := p.fetchable(ctx); err != nil {
			return nil, err
		}
		if got := p.feed.take(limit, p.epoch); len(got) > 0 {
			return got, nil
		}
		select {
		case <-p.feed.changed:
		case <-p.revoking:
		case <-p.feed.ctx.Done():
		case <-ctx.Done():
		}
	}
}

// fetchable says why nothing can be fetched; nil if it can.
func (p *partition) fetchable(ctx context.Context) error {
	select {
	case <-p.revoking:
		return brokers.ErrRevoked
	default:
	}
	if p.feed.over() != nil {
		return brokers.ErrRevoked
	}
	return ctx.Err()
}

// Ack implements [brokers.Partition].
func (p *partition) Ack(a brokers.Ack) error { return p.feed.settle(a) }

// Close implements [brokers.Partition].
func (p *partition) Close(ctx context.Context) error {
	err := p.feed.release(ctx)
	p.closeOnce.Do(func() { close(p.closed) })
	return err
}

// revoke asks the owner to give the partition back within DrainTimeout.
func (p *partition) revoke() { p.revokeOnce.Do(func() { close(p.revoking) }) }

// watch returns when the epoch has ended, which it sees to if the owner does not
// give back in time what it is asked for. life bounds how long the server is
// waited for.
func (p *partition) watch(life context.Context, drain time.Duration) {
	select {
	case <-p.feed.ctx.Done():
		return
	case <-p.revoking:
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-p.feed.ctx.Done():
	case <-timer.C:
		p.expel(life)
	}
}

// expel takes the partition from an owner that did not close it.
func (p *partition) expel(life context.Context) {
	_ = p.feed.release(life) // the owner gets it from its Close
}
