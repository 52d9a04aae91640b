package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// Receipts come in the order of the call, and say where the message lies.
func publishReceipts(e *env) {
	group := e.group()
	name := e.topic(3, group)
	var msgs []brokers.Message
	for n := range 10 {
		for id := range int32(3) {
			msgs = append(msgs, numbered(name, id, "k", n, n+1)...)
		}
	}
	receipts := e.publish(msgs...)
	where := map[string]brokers.Receipt{}
	for i, r := range receipts {
		if r.Topic != name || r.Partition != msgs[i].Partition || r.Duplicate {
			e.Fatalf("receipt %d: %+v; want topic %q, partition %d", i, r, name, msgs[i].Partition)
		}
		where[place(&msgs[i])] = r
	}
	for _, p := range e.acceptAll(e.subscribe(e.broker, group, name), 3) {
		got := e.fetch(p, 10)
		e.wantNumbers(got, 0, 10)
		for i := range got {
			if r := where[place(&got[i])]; r.Offset != brokers.NoOffset && r.Offset != got[i].Offset {
				e.Errorf("message %s: receipt has offset %d, it was received with %d", place(&got[i]), r.Offset, got[i].Offset)
			}
		}
	}
}

func place(m *brokers.Message) string { return string(rune('0'+m.Partition)) + ":" + string(m.Payload) }

// A call of many messages is confirmed as a whole, in order per key.
func publishMany(e *env) {
	group := e.group()
	name := e.topic(1, group)
	msgs := numbered(name, 0, "k", 0, 1000)
	for i := range msgs {
		msgs[i].Payload = append(msgs[i].Payload, make([]byte, 2<<10)...)
		copy(msgs[i].Payload[len(msgs[i].Payload)-2<<10:], "/")
	}
	e.publish(msgs...)
	got := e.fetch(e.accept(e.subscribe(e.broker, group, name)), len(msgs))
	for i := range got {
		if string(got[i].Payload) != string(msgs[i].Payload) {
			e.Fatalf("message %d has payload %.20q; want %.20q", i, got[i].Payload, msgs[i].Payload)
		}
	}
}

// outcomes gathers what callbacks report.
type outcomes struct {
	mu    sync.Mutex
	order []int
	errs  map[int]error
}

func (o *outcomes) callback(i int) func(brokers.Receipt, error) {
	return func(_ brokers.Receipt, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.errs == nil {
			o.errs = map[int]error{}
		}
		o.errs[i] = err
		o.order = append(o.order, i)
	}
}

// sendAsync publishes all with callbacks, and flushes.
func (e *env) sendAsync(pub *brokers.Publisher, msgs []brokers.Message) *outcomes {
	e.Helper()
	o := &outcomes{}
	for i := range msgs {
		e.ok(pub.PublishAsync(e.within(), msgs[i], o.callback(i)), "PublishAsync")
	}
	e.ok(pub.Flush(e.within()), "Flush")
	return o
}

// PublishAsync keeps the order of each key, calls back in order, and Flush
// returns when all callbacks have.
func publishAsync(e *env) {
	group := e.group()
	name := e.topic(2, group)
	var msgs []brokers.Message
	for n := range 200 {
		for _, key := range []string{"a", "b", "c"} {
			msgs = append(msgs, numbered(name, int32(key[0]-'a')%2, key, n, n+1)...)
		}
	}
	o := e.sendAsync(e.publisher(e.broker, brokers.PublisherConfig{}), msgs)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.order) != len(msgs) {
		e.Fatalf("Flush returned after %d of %d callbacks", len(o.order), len(msgs))
	}
	for i, err := range o.errs {
		e.noErr(err, "PublishAsync of message "+string(msgs[i].Payload))
	}
	e.wantOrderPerKey(e.drain(e.subscribe(e.broker, group, name), 2, len(msgs)))
}

// drain fetches n messages from all partitions of a subscription.
func (e *env) drain(sub brokers.Subscription, partitions, n int) []brokers.Message {
	e.Helper()
	got := make(chan []brokers.Message)
	stop := make(chan struct{})
	defer close(stop)
	for _, p := range e.acceptAll(sub, partitions) {
		go func() {
			for {
				batch, err := p.Fetch(p.Context(), brokers.FetchLimit{Messages: 100})
				if err != nil {
					return
				}
				select {
				case got <- batch:
				case <-stop:
					return
				}
			}
		}()
	}
	var all []brokers.Message
	for ctx := e.within(); len(all) < n; {
		select {
		case batch := <-got:
			all = append(all, batch...)
		case <-ctx.Done():
			e.Fatalf("received %d of %d messages within %v", len(all), n, e.h.Wait)
		}
	}
	return all
}

// wantOrderPerKey ends the test unless each key's numbers begin at 0 and have
// no gap.
func (e *env) wantOrderPerKey(got []brokers.Message) {
	e.Helper()
	due := map[string]int{}
	for i := range got {
		key := string(got[i].Key)
		if n := number(&got[i]); n != due[key] {
			e.Fatalf("key %q: got number %d; want %d", key, n, due[key])
		}
		due[key]++
	}
}

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
	for _, i := range []int{0, 2} {
		if len(receipts) != 3 || receipts[i].Topic != topic {
			e.Fatalf("receipts %+v; want one for index %d", receipts, i)
		}
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

// What the caller does to its messages after Publish has no effect.
func publishCopies(e *env) {
	group := e.group()
	name := e.topic(1, group)
	m := brokers.Message{
		Topic: name, Key: []byte("key"), Payload: []byte("payload"),
		Headers: brokers.Headers{{Key: "h", Value: []byte("value")}},
	}
	want := m.Clone()
	e.publish(m)
	clear(m.Key)
	clear(m.Payload)
	clear(m.Headers[0].Value)
	m.Headers[0] = brokers.Header{Key: "other"}
	e.sameContent(&e.fetch(e.accept(e.subscribe(e.broker, group, name)), 1)[0], &want)
}

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

// The default partitioner sends each key to the partition that its bytes say,
// the same on every broker.
func publishByKey(e *env) {
	const partitions = 5
	group := e.group()
	name := e.topic(partitions, group)
	var msgs []brokers.Message
	for i := range 40 {
		msgs = append(msgs, brokers.Message{Topic: name, Key: fmt.Appendf(nil, "key\xff%d", i), Payload: []byte("p")})
	}
	pub, err := e.broker.Publisher(brokers.PublisherConfig{})
	e.ok(err, "Broker.Publisher")
	receipts, err := pub.Publish(e.within(), msgs...)
	e.ok(err, "Publish")
	e.ok(pub.Close(e.within()), "Publisher.Close")
	counts := map[int32]int{}
	for i, r := range receipts {
		if want := brokers.PartitionOf(msgs[i].Key, partitions); r.Partition != want {
			e.Errorf("key %q went to partition %d; want %d", msgs[i].Key, r.Partition, want)
		}
		counts[r.Partition]++
	}
	for id, p := range e.acceptAll(e.subscribe(e.broker, group, name), len(counts)) {
		for _, m := range e.fetch(p, counts[id]) {
			if want := brokers.PartitionOf(m.Key, partitions); want != id {
				e.Errorf("key %q came from partition %d; want %d", m.Key, id, want)
			}
		}
	}
}

// Several publishers of one connection do not disturb each other.
func publishConcurrently(e *env) {
	group := e.group()
	name := e.topic(2, group)
	var calls []*call[struct{}]
	ctx := e.within()
	for i := range 4 {
		pub := e.publisher(e.broker, brokers.PublisherConfig{})
		calls = append(calls, startErr("Publish", func() error {
			for n := 0; n < 100; n += 5 {
				if _, err := pub.Publish(ctx, numbered(name, int32(i%2), fmt.Sprint("key", i), n, n+5)...); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, c := range calls {
		_, err := c.wait(e)
		e.ok(err, "Publish")
	}
	e.wantOrderPerKey(e.drain(e.subscribe(e.broker, group, name), 2, 400))
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
	name := e.topic(1)
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

// A second message of an ID is confirmed as a duplicate and stored once.
func publishDeduplicated(e *env) {
	e.needs(e.features.Deduplication, "Features.Deduplication is false")
	group := e.group()
	name := e.topic(1, group)
	msgs := numbered(name, 0, "k", 0, 2)
	msgs[0].ID, msgs[1].ID = "first", "second"
	first := e.publish(msgs[0])
	again := e.publish(msgs[0], msgs[1])
	if first[0].Duplicate || !again[0].Duplicate || again[1].Duplicate {
		e.Errorf("receipts %+v, %+v; want only the second of the same ID to be a duplicate", first, again)
	}
	p := e.accept(e.subscribe(e.broker, group, name))
	e.wantNumbers(e.fetch(p, 2), 0, 2)
	e.fetchNothing(p)
}

// A call whose context ends while the connection is down says so of each
// message, and that it may be sent again.
func publishCancelledWhileDisconnected(e *env) {
	name := e.topic(1)
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	_, err := pub.Publish(e.within(), numbered(name, 0, "k", 0, 1)...)
	e.ok(err, "Publish")
	reconnect := e.disconnect(e.broker)
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
