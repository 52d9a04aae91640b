package brokertest

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/brokers"
)

// A call whose context ends while the connection is down says so of each
// message, and that it may be sent again.
func publishCancelledWhileDisconnected(e *env) {
	name := e.topic(1, e.group())
	reconnect := e.disconnect(e.broker)
	pub := e.publisher(e.broker, brokers.PublisherConfig{}) // does no I/O
	var err error
	ctx := e.quietly()
	err = e.returns("Publish", func() error {
		_, err := pub.Publish(ctx, numbered(name, 0, "k", 1, 3)...)
		return err
	})
	e.is(err, context.DeadlineExceeded, "Publish while disconnected")
	var failed *brokers.PublishError
	if !errors.As(err, &failed) || len(failed.Failures) != 2 {
		e.Fatalf("Publish: error %v; want a PublishError of both messages", err)
	}
	for _, f := range failed.Failures {
		if !f.Retryable() {
			e.Errorf("message %d: outcome %q; want one that may be sent again", f.Index, f.Outcome)
		}
	}
	e.ok(reconnect(), "reconnect")
	_, err = pub.Publish(e.within(), numbered(name, 0, "k", 3, 4)...)
	e.ok(err, "Publish after the reconnect")
}

// What is published while the connection is down is stored when it is back,
// in order per key.
func publishWhileDisconnected(e *env) {
	group := e.group()
	name := e.topic(2, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	_, err := pub.Publish(e.within(), append(numbered(name, 0, "a", 0, 1), numbered(name, 1, "b", 0, 1)...)...)
	e.ok(err, "Publish")
	reconnect := e.disconnect(e.broker)
	o := &outcomes{}
	for n := 1; n < 50; n++ {
		e.ok(pub.PublishAsync(e.within(), numbered(name, 0, "a", n, n+1)[0], o.callback(2*n)), "PublishAsync")
		e.ok(pub.PublishAsync(e.within(), numbered(name, 1, "b", n, n+1)[0], o.callback(2*n+1)), "PublishAsync")
	}
	e.is(pub.Flush(e.quietly()), context.DeadlineExceeded, "Flush while disconnected")
	e.ok(reconnect(), "reconnect")
	e.ok(pub.Flush(e.within()), "Flush after the reconnect")
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, err := range o.errs {
		e.noErr(err, "a message published while disconnected")
	}
	l := newLedger()
	e.work("reader", l, brokers.SubscriptionConfig{Group: group, Topics: []string{name}}, handleAll)
	e.await(l, "all 100 are read", func() bool { return l.highest["a"] == 49 && l.highest["b"] == 49 })
	e.audit(l)
}
