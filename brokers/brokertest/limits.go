package brokertest

import (
	"errors"

	"github.com/troupe-go/troupe/brokers"
)

// A message over the publisher's limit fails alone; its neighbours of the same
// key are stored in order, and the publisher goes on.
func publishOverLimit(e *env) {
	group := e.group()
	name := e.topic(1, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{MaxMessageBytes: 512})
	e.overLimit(pub, name, 600)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 3), 0, 3)
}

// The same where the server is the one that refuses.
func publishRefused(e *env) {
	e.needs(e.h.RefusedBytes > 0, "the harness names no size that the server refuses")
	group := e.group()
	name := e.topic(1, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{MaxMessageBytes: 4 * e.h.RefusedBytes})
	e.overLimit(pub, name, e.h.RefusedBytes)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 3), 0, 3)
}

// overLimit publishes numbers 0 to 2 of one key with a message of size bytes
// between 0 and 1.
func (e *env) overLimit(pub *brokers.Publisher, topic string, size int) {
	e.Helper()
	legal := numbered(topic, 0, "k", 0, 3)
	large := brokers.Message{Topic: topic, Key: []byte("k"), Payload: make([]byte, size-1)}
	receipts, err := pub.Publish(e.within(), legal[0], large, legal[1])
	var failed *brokers.PublishError
	if !errors.As(err, &failed) || failed.Of != 3 || len(failed.Failures) != 1 || failed.Failures[0].Index != 1 {
		e.Fatalf("Publish: error %v; want a PublishError of index 1 of 3 only", err)
	}
	if f := &failed.Failures[0]; f.Retryable() || f.Outcome != brokers.Refused {
		e.Errorf("failure of the large message: outcome %q; want refused", f.Outcome)
	}
	e.is(err, brokers.ErrTooLarge, "Publish")
	if len(receipts) != 3 || receipts[0].Topic != topic || receipts[2].Topic != topic || receipts[1] != (brokers.Receipt{}) {
		e.Fatalf("receipts %+v; want those of index 0 and 2 and a zero one between", receipts)
	}
	_, err = pub.Publish(e.within(), legal[2])
	e.ok(err, "the next Publish")
}

func publishOverLimitAsync(e *env) {
	group := e.group()
	name := e.topic(1, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{MaxMessageBytes: 512})
	msgs := numbered(name, 0, "k", 0, 3)
	msgs = append(msgs[:1:1], append([]brokers.Message{{Topic: name, Key: []byte("k"), Payload: make([]byte, 600)}}, msgs[1:]...)...)
	o := &outcomes{}
	for i := range msgs {
		// A message that is refused at once may be reported either way.
		if err := pub.PublishAsync(e.within(), msgs[i], o.callback(i)); err != nil {
			o.callback(i)(brokers.Receipt{}, err)
		}
	}
	e.ok(pub.Flush(e.within()), "Flush")
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.order) != len(msgs) {
		e.Fatalf("%d reports for %d messages", len(o.order), len(msgs))
	}
	for i, err := range o.errs {
		if i == 1 {
			e.is(err, brokers.ErrTooLarge, "PublishAsync of the large message")
			continue
		}
		e.noErr(err, "PublishAsync of its neighbour")
	}
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 3), 0, 3)
}
