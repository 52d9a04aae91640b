package brokertest

import (
	"bytes"
	"context"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// seeded makes a topic of one partition with n numbered messages and a group
// that owns it.
func (e *env) seeded(n int) (p brokers.Partition, sub brokers.Subscription, topic, group string) {
	e.Helper()
	group = e.group()
	topic = e.topic(1, group)
	e.publish(numbered(topic, 0, "k", 0, n)...)
	sub = e.subscribe(e.broker, group, topic)
	return e.accept(sub), sub, topic, group
}

// Fetch returns at most limit.Messages.
func fetchLimitMessages(e *env) {
	p, _, _, _ := e.seeded(50)
	var got []brokers.Message
	for len(got) < 50 {
		batch, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 7})
		e.ok(err, "Fetch")
		if len(batch) == 0 || len(batch) > 7 {
			e.Fatalf("Fetch: %d messages; want 1 to 7", len(batch))
		}
		got = append(got, batch...)
	}
	e.wantNumbers(got, 0, 50)
}

// Fetch adds no message that would exceed limit.Bytes, but for the first.
func fetchLimitBytes(e *env) {
	group := e.group()
	name := e.topic(1, group)
	msgs := numbered(name, 0, "k", 0, 30)
	for i := range msgs {
		msgs[i].Headers = brokers.Headers{{Key: "pad", Value: make([]byte, 100)}}
	}
	msgs[10].Headers[0].Value = make([]byte, 2000)
	e.publish(msgs...)
	p := e.accept(e.subscribe(e.broker, group, name))
	var got []brokers.Message
	for len(got) < len(msgs) {
		batch, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 100, Bytes: 400})
		e.ok(err, "Fetch")
		size := 0
		for i := range batch {
			size += batch[i].Size()
		}
		if len(batch) > 1 && size > 400 {
			e.Fatalf("Fetch: %d messages of %d bytes; want at most 400 bytes, or one message", len(batch), size)
		}
		got = append(got, batch...)
	}
	e.wantNumbers(got, 0, len(msgs))
}

// Fetch waits for a message, and returns when one comes.
func fetchWaits(e *env) {
	p, _, name, _ := e.seeded(1)
	e.fetch(p, 1)
	e.fetchNothing(p)
	fetching := startFetch(e.within(), p, brokers.FetchLimit{Messages: 10})
	e.publish(numbered(name, 0, "k", 1, 2)...)
	got, err := fetching.wait(e)
	e.ok(err, "Fetch")
	e.wantNumbers(got, 1, 2)
}

// Each message comes once per epoch, acknowledged or not.
func fetchOnce(e *env) {
	p, _, name, _ := e.seeded(20)
	e.wantNumbers(e.fetch(p, 20), 0, 20)
	e.fetchNothing(p)
	e.publish(numbered(name, 0, "k", 20, 21)...)
	e.wantNumbers(e.fetch(p, 1), 20, 21)
}

// A Fetch whose context ends loses nothing, whenever that happens.
func fetchCancelled(e *env) {
	p, _, name, _ := e.seeded(1)
	_, err := e.tryFetch(ended(), p, brokers.FetchLimit{Messages: 1})
	e.is(err, context.Canceled, "Fetch with an ended context")
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	var got []brokers.Message
	for n := 1; n <= 40; n++ {
		// The context ends at about the time of the message's coming.
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*50*time.Microsecond)
		fetching := startFetch(ctx, p, brokers.FetchLimit{Messages: 5})
		_, err := pub.Publish(e.within(), numbered(name, 0, "k", n, n+1)...)
		e.ok(err, "Publish")
		batch, err := fetching.wait(e)
		cancel()
		if err != nil {
			e.is(err, context.DeadlineExceeded, "Fetch whose context ends")
		}
		got = append(got, batch...)
	}
	got = append(got, e.fetch(p, 41-len(got))...)
	e.wantNumbers(got, 0, 41)
}

// What Fetch returned is the caller's: changing it changes nothing elsewhere.
func fetchOwned(e *env) {
	group, other := e.group(), e.group()
	name := e.topic(1, group, other)
	var want []brokers.Message
	for _, m := range numbered(name, 0, "k", 0, 3) {
		m.Headers = brokers.Headers{{Key: "h", Value: []byte("value")}}
		want = append(want, m)
	}
	e.publish(want...)
	sub := e.subscribe(e.broker, group, name)
	p := e.accept(sub)
	first := e.fetch(p, 1)
	spoil(first)
	rest := e.fetch(p, 2)
	for i := range rest {
		e.sameContent(&rest[i], &want[i+1])
	}
	spoil(rest)
	e.close(p)
	again := e.fetch(e.accept(sub), 3)
	others := e.fetch(e.accept(e.subscribe(e.broker, other, name)), 3)
	for i := range want {
		e.sameContent(&again[i], &want[i])
		e.sameContent(&others[i], &want[i])
	}
}

// spoil overwrites all that messages point to.
func spoil(msgs []brokers.Message) {
	for i := range msgs {
		m := &msgs[i]
		copy(m.Key, bytes.Repeat([]byte("!"), len(m.Key)))
		copy(m.Payload, bytes.Repeat([]byte("!"), len(m.Payload)))
		m.Payload = append(m.Payload, '!', '!')
		m.Key = append(m.Key, '!')
		for j := range m.Headers {
			copy(m.Headers[j].Value, "!!!!!")
			m.Headers[j].Key = "!"
		}
	}
}

// A message that is larger than all that a Fetch may return still comes, alone.
func fetchLarge(e *env) {
	group := e.group()
	name := e.topic(1, group)
	msgs := numbered(name, 0, "k", 0, 3)
	for i := range msgs {
		msgs[i].Headers = brokers.Headers{{Key: "pad", Value: make([]byte, 1000)}}
	}
	e.publish(msgs...)
	p := e.accept(e.subscribe(e.broker, group, name))
	for n := range msgs {
		batch, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 100, Bytes: 1})
		e.ok(err, "Fetch")
		e.wantNumbers(batch, n, n+1)
	}
}

// MaxUnsettled messages can be fetched without an acknowledgement; after one,
// more follow.
func fetchUnsettled(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 60)...)
	p := e.accept(e.subscribeAs(e.broker, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, MaxUnsettled: 20,
	}))
	got := e.fetch(p, 20)
	for n := 20; n < 60; n++ {
		e.ack(p, got[n-20].Offset)
		got = append(got, e.fetch(p, 1)...)
	}
	e.wantNumbers(got, 0, 60)
}

// The same when single messages above the first are settled.
func fetchUnsettledAbove(e *env) {
	e.needs(e.features.IndividualAcks, "Features.IndividualAcks is false")
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 30)...)
	p := e.accept(e.subscribeAs(e.broker, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, MaxUnsettled: 10,
	}))
	got := e.fetch(p, 10)
	for n := 10; n < 30; n++ {
		e.ack(p, brokers.NoOffset, got[n-9].Offset)
		got = append(got, e.fetch(p, 1)...)
	}
	e.wantNumbers(got, 0, 30)
}
