package brokertest

import (
	"context"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
)

// Closing a partition ends its epoch; later calls return the first one's result.
func partitionCloses(e *env) {
	p, _, _, _ := e.seeded(3)
	got := e.fetch(p, 3)
	e.ack(p, got[2].Offset)
	ctx := e.within()
	e.together(3, "Partition.Close", func() error { return p.Close(ctx) })
	e.revoked(p)
	e.close(p)
	_, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	e.is(err, brokers.ErrRevoked, "Fetch after Close")
}

func partitionClosesDuringFetch(e *env) {
	p, _, _, _ := e.seeded(1)
	e.fetch(p, 1)
	fetching := startFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	e.close(p)
	_, err := fetching.wait(e)
	e.is(err, brokers.ErrRevoked, "Fetch during Close")
}

// Close with a context that has ended still releases the partition.
func partitionCloseCancelled(e *env) {
	p, sub, _, _ := e.seeded(2)
	e.fetch(p, 2)
	// Without acknowledgements on their way there is nothing to report, but a
	// driver may say that it could not wait.
	_ = e.returns("Partition.Close", func() error { return p.Close(ended()) })
	e.revoked(p)
	e.wantNumbers(e.fetch(e.accept(sub), 2), 0, 2)
}

// Close of a membership wants everything back, waits for the owners, and ends
// Accept; more calls return when the first has.
func subscriptionCloses(e *env) {
	p, sub, name, group := e.seeded(4)
	got := e.fetch(p, 4)
	ctx := e.within()
	accepting := startAccept(ctx, sub)
	var closing []*call[struct{}]
	for range 3 {
		closing = append(closing, startErr("Subscription.Close", func() error { return sub.Close(ctx) }))
	}
	e.happens(p.Revoking(), "Revoking after Subscription.Close")
	select {
	case <-p.Context().Done():
		e.Fatal("the epoch ended before its owner could drain")
	case <-time.After(e.h.Quiet):
	}
	_, err := accepting.wait(e)
	e.is(err, brokers.ErrClosed, "Accept during Close")
	for _, c := range closing {
		if happened(c.done) {
			e.Fatal("Subscription.Close returned while a partition was open")
		}
	}
	e.ack(p, got[1].Offset)
	e.close(p)
	for _, c := range closing {
		_, err := c.wait(e)
		e.noErr(err, "Subscription.Close")
	}
	_, err = e.tryAccept(e.within(), sub)
	e.is(err, brokers.ErrClosed, "Accept after Close")
	e.leave(sub)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 2), 2, 4)
}

// A context that ends cuts the drain short.
func subscriptionCloseCancelled(e *env) {
	p, sub, name, group := e.seeded(2)
	got := e.fetch(p, 2)
	ctx, cancel := context.WithCancel(context.Background())
	closing := startErr("Subscription.Close", func() error { return sub.Close(ctx) })
	e.happens(p.Revoking(), "Revoking after Subscription.Close")
	cancel()
	// It may say that it was cut short.
	_, _ = closing.wait(e)
	e.revoked(p)
	e.lateAck(p, got)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.open(), group, name)), 2), 0, 2)
}

// Subscriptions that never owned anything close as well.
func subscriptionClosesEmpty(e *env) {
	name := e.h.Name("topic")
	sub := e.subscribe(e.broker, e.group(), name)
	e.leave(sub)
	e.leave(sub)
}

// Close of a connection ends all that came of it, at once.
func brokerCloses(e *env) {
	b := e.open()
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 2)...)
	sub := e.subscribe(b, group, name)
	p := e.accept(sub)
	got := e.fetch(p, 2)
	pub := e.publisher(b, brokers.PublisherConfig{})
	fetching := startFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	accepting := startAccept(e.within(), sub)
	e.together(2, "Broker.Close", b.Close)
	e.together(1, "a later Broker.Close", b.Close)

	_, err := fetching.wait(e)
	e.is(err, brokers.ErrRevoked, "Fetch during Broker.Close")
	_, err = accepting.wait(e)
	e.is(err, brokers.ErrClosed, "Accept during Broker.Close")
	e.revoked(p)
	e.lateAck(p, got)
	ctx := e.within()
	_ = e.returns("Partition.Close after Broker.Close", func() error { return p.Close(ctx) })
	_, err = pub.Publish(e.within(), numbered(name, 0, "k", 2, 3)...)
	e.is(err, brokers.ErrClosed, "Publish after Broker.Close")
	_, err = b.Subscribe(e.within(), brokers.SubscriptionConfig{Group: group, Topics: []string{name}})
	e.is(err, brokers.ErrClosed, "Subscribe after Broker.Close")
	if b.Health(e.within()).Connected {
		e.Error("Health says connected after Broker.Close")
	}
}

// Closing while publishing reports every message, one way or the other.
func brokerClosesDuringPublish(e *env) {
	b := e.open()
	name := e.topic(1, e.group())
	pub := e.publisher(b, brokers.PublisherConfig{})
	o := &outcomes{}
	ctx := e.within()
	publishing := start("PublishAsync", func() (accepted int, err error) {
		for ; accepted < 2000; accepted++ {
			m := numbered(name, 0, "k", accepted, accepted+1)[0]
			if err := pub.PublishAsync(ctx, m, o.callback(accepted)); err != nil {
				return accepted, err
			}
		}
		return accepted, nil
	})
	e.together(1, "Broker.Close", b.Close)
	accepted, err := publishing.wait(e)
	if err != nil {
		e.is(err, brokers.ErrClosed, "PublishAsync during Broker.Close")
	}
	e.eventually("every accepted message is reported once", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.order) == accepted && len(o.errs) == accepted
	})
}

// A connection that was cut off closes all the same.
func brokerClosesDisconnected(e *env) {
	b := e.open()
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 1)...)
	p := e.accept(e.subscribe(b, group, name))
	e.disconnect(b)
	_ = e.returns("Broker.Close", b.Close)
	e.revoked(p)
}

// goroutinesEnd checks that nothing runs on after Close. No test runs beside it.
func goroutinesEnd(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 3)...)

	known := append([]goleak.Option{goleak.IgnoreCurrent()}, e.h.Leaks...)
	b, err := e.h.Open(e.within())
	e.ok(err, "Harness.Open")
	pub, err := b.Publisher(brokers.PublisherConfig{})
	e.ok(err, "Publisher")
	_, err = pub.Publish(e.within(), numbered(name, 0, "k", 3, 4)...)
	e.ok(err, "Publish")
	sub, err := b.Subscribe(e.within(), brokers.SubscriptionConfig{Group: group, Topics: []string{name}})
	e.ok(err, "Subscribe")
	got := e.fetch(e.accept(sub), 4)
	e.wantNumbers(got, 0, 4)
	e.noErr(b.Close(), "Broker.Close")
	e.noLeaks(known)
}

// noLeaks waits until only known goroutines are left.
func (e *env) noLeaks(known []goleak.Option) {
	e.Helper()
	ctx := e.within()
	for {
		err := goleak.Find(known...)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			e.Fatalf("goroutines run on after Close: %v", err)
		}
	}
}
