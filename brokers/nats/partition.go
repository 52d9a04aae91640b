package nats

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// epochs numbers the epochs of this process.
var epochs atomic.Uint64

const (
	// renewExpiry is how long a request to keep the pin waits at the server.
	renewExpiry = 20 * time.Millisecond
	sweepExpiry = time.Millisecond
	// arrival is how long messages that the server has sent may take.
	arrival = time.Second
)

// partition is an epoch. See [brokers.Partition].
type partition struct {
	lane  *lane
	feed  *feed
	epoch uint64
	ttl   time.Duration // the consumer's PinnedTTL
	conn  uint64        // how often the connection was made before

	revoking   chan struct{}
	revokeOnce sync.Once
	lease      *time.Timer // the lane's, as is all but what has its own lock

	verify    chan struct{} // of one: the connection was lost and is back
	closeOnce sync.Once
	closed    chan struct{} // by the owner
}

var _ brokers.Partition = (*partition)(nil)

// newPartition makes the epoch of a feed that owns its partition.
func newPartition(f *feed, ttl time.Duration) *partition {
	return &partition{
		lane: f.lane, feed: f, epoch: epochs.Add(1), ttl: ttl, conn: f.nc.Stats().Reconnects,
		revoking: make(chan struct{}),
		verify:   make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
}

// Topic implements [brokers.Partition].
func (p *partition) Topic() string { return p.lane.slot.Topic }

// ID implements [brokers.Partition].
func (p *partition) ID() int32 { return p.lane.slot.Partition }

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
		if got := p.take(limit); len(got) > 0 {
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
	if p.feed.ctx.Err() != nil {
		return context.Cause(p.feed.ctx)
	}
	return ctx.Err()
}

func (p *partition) take(limit brokers.FetchLimit) []brokers.Message {
	p.feed.mu.Lock()
	defer p.feed.unlock()
	if p.feed.err != nil {
		return nil
	}
	return p.feed.take(limit, p.epoch)
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

// keep keeps the pin until the epoch has ended, which it sees to if the owner
// does not give back in time what it is asked for.
func (p *partition) keep() {
	defer p.lease.Stop()
	beat := time.NewTimer(p.interval())
	defer beat.Stop()
	var drained <-chan time.Time
	verify, revoking := false, p.revoking
	for {
		select {
		case <-p.feed.ctx.Done():
			return
		case <-revoking:
			revoking = nil
			drained = time.After(p.lane.sub.cfg.DrainTimeout)
			continue
		case <-drained:
			p.expel()
			return
		case <-p.verify:
			verify = true
		case <-beat.C:
		}
		err := p.beat(p.feed.ctx)
		if err == nil && verify {
			p.goOn()
			verify = false
		}
		beat.Reset(p.after(err))
	}
}

// expel takes the partition from an owner that did not close it in time.
func (p *partition) expel() {
	ctx, cancel := p.lane.sub.b.request(p.lane.sub.life)
	defer cancel()
	_ = p.feed.release(ctx) // the owner gets it from its Close
}

// interval is how often the pin is renewed.
func (p *partition) interval() time.Duration { return p.ttl/3 - rand.N(p.ttl/20+1) }

// after is when to try again.
func (p *partition) after(err error) time.Duration {
	if err == nil {
		return p.interval()
	}
	return min(p.ttl/10, time.Second)
}

// recovered is told that the connection was lost and is back.
func (p *partition) recovered() {
	select {
	case p.verify <- struct{}{}:
	default:
	}
}

// beat renews the pin, and asks whether it is still this epoch's and whether all
// that the server has delivered has come. An error means that this could not be
// told.
func (p *partition) beat(ctx context.Context) error {
	ctx, cancel := p.lane.sub.b.link.while(ctx, max(p.ttl/3, 50*time.Millisecond))
	defer cancel()
	sent := time.Now()
	if err := p.renew(ctx); err != nil {
		return err
	}
	info, err := p.lane.info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		p.feed.end(errGone)
		return nil
	case err != nil:
		return err
	case pinned(info) != p.feed.pin:
		p.feed.end(errPinLost)
		return nil
	}
	p.extend(sent)
	p.receivedAll(info.Delivered.Consumer)
	p.unstick(info)
	_, err = p.lane.set(ctx, info, p.lane.normal()) // another member may have changed it by mistake
	return err
}

// receivedAll ends the epoch if a delivery up to that number was lost.
func (p *partition) receivedAll(last uint64) {
	f := p.feed
	if f.wait(f.ctx, arrival, func() bool { return f.consumer >= last }) != nil {
		return // it is over anyway
	}
	f.mu.Lock()
	defer f.unlock()
	if f.consumer < last {
		f.fail(fmt.Errorf("%w: %d of %d came", errHole, f.consumer, last))
	}
}

// renew sends a request that keeps the pin and can bring no message, as every
// message has more than one byte.
func (p *partition) renew(ctx context.Context) error {
	body := pullRequest{messages: 1, bytes: 1, expires: renewExpiry, pin: p.feed.pin}.body()
	answer, err := p.feed.nc.RequestWithContext(ctx, p.lane.next, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil // the consumer is gone, or its server is: its info tells
	case err != nil:
		return err
	case answer.Header.Get("Status") == "423":
		p.feed.end(errPinLost)
	}
	return nil
}

// extend notes that the pin was renewed by a request sent at that time.
func (p *partition) extend(sent time.Time) {
	left := time.Until(sent.Add(p.ttl))
	if p.lease == nil {
		p.lease = time.AfterFunc(left, p.expire)
		return
	}
	p.lease.Reset(left)
}

// expire ends an epoch whose pin may have run out.
func (p *partition) expire() {
	if p.feed.over() != nil {
		return
	}
	p.lane.sub.b.link.silent(errLease)
	p.feed.end(errLease)
}

// unstick asks anew if nothing came of what was asked for since the last beat,
// although there is something.
func (p *partition) unstick(info *jetstream.ConsumerInfo) {
	f := p.feed
	f.mu.Lock()
	defer f.unlock()
	f.pulls.expire(time.Now())
	idle := f.consumer == f.pulls.seen && f.pulls.out > 0
	if f.consumer == f.pulls.seen && f.queue.len() == 0 {
		f.queue.drop() // it is idle
	}
	f.pulls.seen = f.consumer
	most := info.Config.MaxAckPending
	if idle && info.NumPending > 0 && (most < 0 || info.NumAckPending < most) {
		f.pulls.forget()
	}
	f.refill()
}

// goOn lets the epoch live on over a lost connection, in which nothing else was
// lost: it asks for messages again, and acknowledges again what may not have got
// through.
func (p *partition) goOn() {
	p.feed.mu.Lock()
	p.feed.pulls.forget()
	p.feed.refill()
	p.feed.unlock()
	p.feed.repeatAcks()
}
