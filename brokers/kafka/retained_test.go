package kafka_test

import (
	"errors"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// What stays with its member goes on while other partitions move, and while their
// owner takes its time to give them back: none of it waits for a second. On a busy
// machine one message may, but not in each of three tries.
func TestRetainedPartitionsDoNotWait(t *testing.T) {
	t.Parallel()
	const most, tries = time.Second, 3
	for range tries {
		slowest := slowestInRebalances(t)
		if slowest < most {
			return
		}
		t.Logf("a message of a partition that stayed waited for %v", slowest)
	}
	t.Errorf("in each of %d tries a message waited for more than %v", tries, most)
}

// flow is a member whose partitions are published to and read, one message after the
// other.
type flow struct {
	topic   string
	pub     *brokers.Publisher
	owned   map[int32]brokers.Partition
	back    []brokers.Partition // are wanted back
	slowest time.Duration       // from a message's confirmation on
}

// slowestInRebalances has a second member come and go.
func slowestInRebalances(t *testing.T) time.Duration {
	t.Helper()
	const partitions, moved, rounds = 4, 2, 50
	b := openQuick(t, nil)
	topic := newTopic(t, b, partitions)
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	f := &flow{
		topic: topic, pub: publisher(t, b, brokers.PublisherConfig{Partitioner: brokers.Explicit()}),
		owned: map[int32]brokers.Partition{},
	}
	first := subscribe(t, b, cfg)
	for range partitions {
		p := accept(t, first)
		f.owned[p.ID()] = p
	}

	second := subscribe(t, openQuick(t, nil), cfg)
	f.until(t, func() bool { return len(f.back) == moved })
	stayed := len(f.owned)
	for range rounds { // their owner is in no hurry
		f.round(t)
	}
	for _, p := range f.back {
		ok(t, p.Close(within(t)))
	}
	taken := accepting(t, second, moved)
	f.until(t, func() bool { return len(taken) == moved })

	left := make(chan error, moved+1)
	leaving := within(t)
	go func() { left <- second.Close(leaving) }()
	for range moved {
		p := <-taken
		go func() {
			<-p.Revoking()
			left <- p.Close(leaving)
		}()
	}
	returned := accepting(t, first, moved)
	f.until(t, func() bool { return len(returned) == moved })
	for range moved + 1 {
		ok(t, <-left)
	}
	if len(f.owned) != stayed || stayed != partitions-moved {
		t.Errorf("%d partitions stayed, and %d at last; want %d", stayed, len(f.owned), partitions-moved)
	}
	return f.slowest
}

// accepting accepts n partitions meanwhile.
func accepting(t *testing.T, sub brokers.Subscription, n int) <-chan brokers.Partition {
	t.Helper()
	accepted := make(chan brokers.Partition, n)
	ctx := within(t)
	go func() {
		for range n {
			p, err := sub.Accept(ctx)
			if err != nil {
				return // who waits for it fails
			}
			accepted <- p
		}
	}()
	return accepted
}

// until goes on until something has come about.
func (f *flow) until(t *testing.T, come func() bool) {
	t.Helper()
	for ctx := within(t); !come(); f.round(t) {
		if ctx.Err() != nil {
			t.Fatal("the group was not balanced anew in time")
		}
	}
}

// round has a message go through each partition that nobody wants back.
func (f *flow) round(t *testing.T) {
	t.Helper()
	for id, p := range f.owned {
		_, err := f.pub.Publish(within(t), brokers.Message{Topic: f.topic, Partition: id, Payload: []byte("on")})
		ok(t, err)
		published := time.Now()
		got, err := p.Fetch(within(t), brokers.FetchLimit{Messages: 1})
		if errors.Is(err, brokers.ErrRevoked) && p.Context().Err() == nil {
			delete(f.owned, id)
			f.back = append(f.back, p)
			continue
		}
		ok(t, err)
		ok(t, p.Ack(brokers.Ack{UpTo: got[0].Offset}))
		f.slowest = max(f.slowest, time.Since(published))
	}
}
