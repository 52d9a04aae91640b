package brokertest

import (
	"context"
	"sync"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
)

// Closing a partition ends its epoch; later calls return the first one's result.
func partitionCloses(e *env) {
	p, _, _, _ := e.seeded(3)
	got := e.fetch(p, 3)
	e.ack(p, got[2].Offset)
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() { e.noErr(p.Close(e.within()), "Partition.Close") })
	}
	calls.Wait()
	e.revoked(p)
	e.close(p)
	_, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	e.is(err, brokers.ErrRevoked, "Fetch after Close")
}

func partitionClosesDuringFetch(e *env) {
	p, _, _, _ := e.seeded(1)
	e.fetch(p, 1)
	var err error
	fetching := e.start(func() { _, err = p.Fetch(e.within(), brokers.FetchLimit{Messages: 1}) })
	e.close(p)
	e.waitFor(fetching, "Fetch")
	e.is(err, brokers.ErrRevoked, "Fetch during Close")
}

// Close with a context that has ended still releases the partition.
func partitionCloseCancelled(e *env) {
	p, sub, _, _ := e.seeded(2)
	e.fetch(p, 2)
	e.returns("Partition.Close", func() {
		// Without acknowledgements on their way there is nothing to report, but
		// a driver may say that it could not wait.
		_ = p.Close(ended())
	})
	e.revoked(p)
	e.wantNumbers(e.fetch(e.accept(sub), 2), 0, 2)
}

// Close of a membership wants everything back, waits for the owners, and ends
// Accept; more calls return when the first has.
func subscriptionCloses(e *env) {
	p, sub, name, group := e.seeded(4)
	got := e.fetch(p, 4)
	var acceptErr error
	accepting := e.start(func() { _, acceptErr = sub.Accept(e.within()) })
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() { e.noErr(sub.Close(e.within()), "Subscription.Close") })
	}
	closing := e.start(calls.Wait)
	e.happens(p.Revoking(), "Revoking after Subscription.Close")
	if p.Context().Err() != nil {
		e.Fatal("the epoch ended before its owner could drain")
	}
	e.waitFor(accepting, "Accept")
	e.is(acceptErr, brokers.ErrClosed, "Accept during Close")
	if happened(closing) {
		e.Fatal("Subscription.Close returned while a partition was open")
	}
	e.ack(p, got[1].Offset)
	e.close(p)
	e.waitFor(closing, "Subscription.Close")
	_, err := e.tryAccept(e.within(), sub)
	e.is(err, brokers.ErrClosed, "Accept after Close")
	e.leave(sub)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 2), 2, 4)
}

// A context that ends cuts the drain short.
func subscriptionCloseCancelled(e *env) {
	p, sub, name, group := e.seeded(2)
	got := e.fetch(p, 2)
	ctx, cancel := context.WithCancel(context.Background())
	closing := e.start(func() { _ = sub.Close(ctx) })
	e.happens(p.Revoking(), "Revoking after Subscription.Close")
	cancel()
	e.waitFor(closing, "Subscription.Close")
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
	var fetchErr, acceptErr error
	fetching := e.start(func() { _, fetchErr = p.Fetch(e.within(), brokers.FetchLimit{Messages: 1}) })
	accepting := e.start(func() { _, acceptErr = sub.Accept(e.within()) })
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() { e.noErr(b.Close(), "Broker.Close") })
	}
	e.waitFor(e.start(calls.Wait), "Broker.Close")
	e.noErr(b.Close(), "a later Broker.Close")

	e.waitFor(fetching, "Fetch")
	e.is(fetchErr, brokers.ErrRevoked, "Fetch during Broker.Close")
	e.waitFor(accepting, "Accept")
	e.is(acceptErr, brokers.ErrClosed, "Accept during Broker.Close")
	e.revoked(p)
	e.lateAck(p, got)
	e.returns("Partition.Close after Broker.Close", func() { _ = p.Close(e.within()) })
	_, err := pub.Publish(e.within(), numbered(name, 0, "k", 2, 3)...)
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
	name := e.topic(1)
	pub := e.publisher(b, brokers.PublisherConfig{})
	o := &outcomes{}
	accepted := 0
	publishing := e.start(func() {
		for n := range 2000 {
			if pub.PublishAsync(e.within(), numbered(name, 0, "k", n, n+1)[0], o.callback(n)) != nil {
				return
			}
			accepted++
		}
	})
	e.returns("Broker.Close", func() { e.noErr(b.Close(), "Broker.Close") })
	e.waitFor(publishing, "PublishAsync")
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
	e.returns("Broker.Close", func() { _ = b.Close() })
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
