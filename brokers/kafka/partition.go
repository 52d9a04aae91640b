package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// epochs numbers the epochs of this process.
var epochs atomic.Uint64

// Why an epoch has ended.
var (
	errReleased   = errors.New("given back")
	errNotDrained = errors.New("not given back within DrainTimeout")
	errLease      = errors.New("the coordinator was not heard for SessionTimeout")
	errExpelled   = errors.New("the group goes on without this member")
	errOutOfRange = errors.New("the log does not have the position any more")
	errTopicGone  = errors.New("the topic was deleted")
	errLeft       = errors.New("the subscription was closed")
)

// partition is an epoch. See [brokers.Partition].
type partition struct {
	place
	sub   *subscription
	feed  *feed
	epoch uint64
	// committer commits what is staged and settled; nil if the subscription's commits
	// do that, as there are no transactions.
	committer *committer

	ctx      context.Context
	cancel   context.CancelCauseFunc
	revoking chan struct{}

	// Guarded by the subscription's lock.
	revoked bool        // revoking is closed
	timer   *time.Timer // ends the epoch when its owner does not give it back

	closeOnce sync.Once
	closed    chan struct{}
	result    error
}

var _ brokers.Partition = (*partition)(nil)

// newPartition begins an epoch; tx is its transactions, nil if it has none.
func newPartition(s *subscription, p place, at beginning, tx *Transactor) *partition {
	x := &partition{
		place: p, sub: s, epoch: epochs.Add(1),
		revoking: make(chan struct{}), closed: make(chan struct{}),
	}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	x.feed = newFeed(s.fetcher, p, x.epoch, at)
	if tx != nil {
		x.committer = newCommitter(x, tx)
		s.background.Go(x.committer.run)
	}
	return x
}

// Topic implements [brokers.Partition].
func (p *partition) Topic() string { return p.topic }

// ID implements [brokers.Partition].
func (p *partition) ID() int32 { return p.place.partition }

// Epoch implements [brokers.Partition].
func (p *partition) Epoch() uint64 { return p.epoch }

// Context implements [brokers.Partition].
func (p *partition) Context() context.Context { return p.ctx }

// Revoking implements [brokers.Partition].
func (p *partition) Revoking() <-chan struct{} { return p.revoking }

// Fetch implements [brokers.Partition].
func (p *partition) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	var room chan struct{}
	if p.committer != nil {
		room = p.committer.room
	}
	for {
		select {
		case <-p.revoking:
			return nil, brokers.ErrRevoked
		case <-p.ctx.Done():
			return nil, context.Cause(p.ctx)
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if p.committer == nil || !p.committer.full() {
			if got := p.feed.take(limit); len(got) > 0 {
				return got, nil
			}
		}
		select {
		case <-p.feed.more:
		case <-room:
		case <-p.revoking:
		case <-p.ctx.Done():
		case <-ctx.Done():
		}
	}
}

// Ack implements [brokers.Partition].
func (p *partition) Ack(a brokers.Ack) error {
	if p.committer != nil {
		a.Above = nil // what was staged for them ends with the epoch, and so must they
	}
	if p.feed.settle(a) {
		if p.committer != nil && p.committer.full() {
			wake(p.committer.poke) // what holds the partition is not held for AckInterval
		}
		return nil
	}
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return fmt.Errorf("%w: %w", brokers.ErrRevoked, errReleased)
}

// Close implements [brokers.Partition].
func (p *partition) Close(ctx context.Context) error {
	p.closeOnce.Do(func() {
		p.result = p.close(ctx)
		close(p.closed)
	})
	<-p.closed
	return p.result
}

func (p *partition) close(ctx context.Context) error {
	p.feed.stop()
	select {
	case <-p.ctx.Done(): // what was not acknowledged in time was not acknowledged
		p.settle()
		p.sub.released(p)
		return nil
	default:
	}
	err := p.flush(ctx)
	p.end(errReleased)
	if ctx.Err() == nil {
		p.settle()
		p.sub.released(p)
		return err
	}
	p.sub.letGo(p)
	return err
}

// flush waits until the cluster has the position of an epoch that settles no more.
// An error means that it may not.
func (p *partition) flush(ctx context.Context) error {
	if p.committer != nil {
		return p.committer.flush(ctx)
	}
	return p.sub.commits.flush(ctx, p)
}

// settle waits until nothing of an epoch that has ended is on its way any more.
func (p *partition) settle() {
	if p.committer != nil {
		<-p.committer.done
		return
	}
	p.sub.commits.settle()
}

// fault is why nothing comes, or nothing is committed; nil if all is well.
func (p *partition) fault() error {
	if p.committer == nil {
		return p.feed.fault()
	}
	return errors.Join(p.feed.fault(), p.committer.fault())
}

// end ends the epoch. It may be repeated.
func (p *partition) end(cause error) {
	p.feed.stop()
	p.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, cause))
}

// forgive stops waiting for the owner. It needs the subscription's lock.
func (p *partition) forgive() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
