package brokertest

import (
	"context"
	"strings"

	"github.com/troupe-go/troupe/brokers"
)

func publishUnknownTopic(e *env) {
	name := e.h.Name("topic")
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	_, err := pub.Publish(e.within(), brokers.Message{Topic: name, Payload: []byte("x")})
	if e.h.CreatesTopics {
		e.ok(err, "Publish to a topic that is made by it")
		return
	}
	e.is(err, brokers.ErrUnknownTopic, "Publish to a topic that does not exist")
	if !strings.Contains(err.Error(), name) {
		e.Errorf("Publish: %q does not name the topic", err)
	}
}

// A context that has ended stops the call, and the publisher lives on.
func publishCancelled(e *env) {
	group := e.group()
	name := e.topic(1, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	err := e.returns("Publish", func() error {
		_, err := pub.Publish(ended(), numbered(name, 0, "gone", 0, 1)...)
		return err
	})
	e.is(err, context.Canceled, "Publish with an ended context")
	_, err = pub.Publish(e.within(), numbered(name, 0, "k", 0, 2)...)
	e.ok(err, "the next Publish")
	var got []brokers.Message
	p := e.accept(e.subscribe(e.broker, group, name))
	for len(got) < 2 {
		// The cancelled message may have been stored all the same.
		if m := e.fetch(p, 1); string(m[0].Key) == "k" {
			got = append(got, m...)
		}
	}
	e.wantNumbers(got, 0, 2)
}

// After Close a publisher sends nothing; closing again, and at the same time,
// is allowed.
func publisherClosed(e *env) {
	name := e.topic(1, e.group())
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	_, err := pub.Publish(e.within(), numbered(name, 0, "k", 0, 1)...)
	e.ok(err, "Publish")
	ctx := e.within()
	e.together(3, "Publisher.Close", func() error { return pub.Close(ctx) })
	_, err = pub.Publish(e.within(), numbered(name, 0, "k", 1, 2)...)
	e.is(err, brokers.ErrClosed, "Publish after Close")
	err = pub.PublishAsync(e.within(), numbered(name, 0, "k", 1, 2)[0], func(brokers.Receipt, error) {})
	e.is(err, brokers.ErrClosed, "PublishAsync after Close")
}

// Close waits for what was accepted, and reports it.
func publisherCloseFlushes(e *env) {
	group := e.group()
	name := e.topic(1, group)
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	o := &outcomes{}
	msgs := numbered(name, 0, "k", 0, 100)
	for i := range msgs {
		e.ok(pub.PublishAsync(e.within(), msgs[i], o.callback(i)), "PublishAsync")
	}
	e.ok(pub.Close(e.within()), "Publisher.Close")
	if len(o.order) != len(msgs) {
		e.Fatalf("Close returned after %d of %d callbacks", len(o.order), len(msgs))
	}
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 100), 0, 100)
}

func publisherInvalid(e *env) {
	for _, c := range []struct {
		field string
		cfg   brokers.PublisherConfig
	}{
		{"MaxInFlight", brokers.PublisherConfig{MaxInFlight: -1}},
		{"MaxBuffered", brokers.PublisherConfig{MaxBuffered: -1}},
		{"MaxMessageBytes", brokers.PublisherConfig{MaxMessageBytes: -1}},
	} {
		_, err := e.broker.Publisher(c.cfg)
		e.is(err, brokers.ErrInvalid, "Publisher with a wrong "+c.field)
		if !strings.Contains(err.Error(), c.field) {
			e.Errorf("Publisher: %q does not name the field %s", err, c.field)
		}
	}
}
