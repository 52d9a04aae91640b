package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// consumer is a member's attachment to one partition: it stands by, owns, and
// stands by again, in a goroutine of its own, until it is told to leave. That
// the server has made it the queue's single active consumer it learns from the
// first delivery.
//
// It has no priority. The server, from 4.0 on, would let a consumer of a higher
// one take the queue over between two messages, and tell the owner nothing, whose
// epoch would go on beside the new one.
type consumer struct {
	sub  *subscription
	slot balance.Slot

	ctx    context.Context // ends when it is to stand by no longer
	cancel context.CancelFunc

	mu      sync.Mutex
	leaving bool
	owned   *partition // nil while it stands by
	err     error      // why it cannot stand by
}

func newConsumer(s *subscription, slot balance.Slot) *consumer {
	c := &consumer{sub: s, slot: slot}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// run attaches to the partition again and again until it is to leave.
func (c *consumer) run() {
	defer c.cancel()
	for failures := 0; c.ctx.Err() == nil; {
		p, err := c.acquire()
		c.failed(err)
		if err != nil {
			c.sub.b.control.pause(c.ctx, failures)
			failures++
			continue
		}
		failures = 0
		c.hold(p)
	}
}

// acquire stands by until the partition is this member's, and returns its epoch.
func (c *consumer) acquire() (*partition, error) {
	late := time.AfterFunc(c.sub.b.cfg.RequestTimeout, func() {
		c.failed(fmt.Errorf("rabbitmq: partition %d of topic %q: no answer for %v", c.slot.Partition, c.slot.Topic, c.sub.b.cfg.RequestTimeout))
	})
	f, err := c.sub.openFeed(c.ctx, c.slot, c.sub.source(c.slot))
	late.Stop()
	if err != nil {
		return nil, err
	}
	c.failed(nil)
	if c.sub.competes() {
		return newPartition(f), nil // it excludes nobody
	}
	select {
	case <-f.first:
		return newPartition(f), nil
	case <-f.ctx.Done():
		err = f.over()
	case <-c.ctx.Done():
		err = context.Cause(c.ctx)
	}
	_ = f.release(c.sub.life) // nobody has had anything of it
	return nil, err
}

// hold offers a partition and waits until its epoch has ended and its owner has
// closed it.
func (c *consumer) hold(p *partition) {
	c.own(p)
	c.sub.offer(p, c)
	p.watch(c.sub.life, c.sub.cfg.DrainTimeout)
	c.sub.withdraw(p)
	select {
	case <-p.closed:
	case <-c.sub.life.Done():
	}
	_ = p.feed.release(c.sub.life) // if the owner has not closed it, its channel may be open
	c.own(nil)
}

// own sets what the consumer owns.
func (c *consumer) own(p *partition) {
	c.mu.Lock()
	c.owned = p
	c.mu.Unlock()
	signal(c.sub.poke)
}

// leave has the consumer end: at once if it stands by, else when its partition is
// given back. It returns that.
func (c *consumer) leave() *partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.cancel()
	return c.owned
}

// failed notes why the consumer cannot stand by; nil if it can.
func (c *consumer) failed(err error) {
	if c.ctx.Err() != nil {
		return
	}
	switch {
	case hasCode(err, amqp.NotFound):
		c.sub.topicGone(c.slot.Topic)
	case hasCode(err, amqp.AccessRefused):
		c.sub.fail(err)
	case errors.Is(err, errReleased):
		err = nil
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	signal(c.sub.poke)
}

// state is what the member tells its group of the consumer, and Health.
func (c *consumer) state() (owned *partition, leaving bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned, c.leaving, c.err
}

// health says which partition is owned, if one is.
func (p *partition) health() brokers.PartitionHealth {
	return brokers.PartitionHealth{Topic: p.Topic(), Partition: p.ID(), Epoch: p.Epoch(), Lag: -1}
}
