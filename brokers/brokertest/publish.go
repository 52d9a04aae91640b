package brokertest

import (
	"fmt"
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

func place(m *brokers.Message) string { return fmt.Sprintf("%d:%s", m.Partition, m.Payload) }

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
