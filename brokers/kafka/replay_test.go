package kafka_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// What was published in a span of time is handled again by a group of its own: it is
// set to where the span begins, and reads each partition up to where it ends. The group
// that has handled it all before keeps its position.
func TestReplayOfASpan(t *testing.T) {
	t.Parallel()
	const partitions, perPartition = 3, 20
	b := openQuick(t, nil)
	topic := newTopic(t, b, partitions)
	pub := publisher(t, b, brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	began := time.Now().Add(-time.Hour).Truncate(time.Second)
	var messages []brokers.Message
	for i := range partitions * perPartition {
		messages = append(messages, brokers.Message{
			Topic: topic, Partition: int32(i % partitions), Payload: fmt.Append(nil, i), Time: began.Add(time.Duration(i) * time.Second),
		})
	}
	if _, err := pub.Publish(within(t), messages...); err != nil {
		t.Fatal(err)
	}
	const from, to = 10, 31
	first, err := b.OffsetsAt(within(t), topic, began.Add(from*time.Second))
	ok(t, err)
	end, err := b.OffsetsAt(within(t), topic, began.Add(to*time.Second))
	ok(t, err)
	replay := topic + ".replay"
	ok(t, b.SetPositions(within(t), replay, first...))

	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: replay, Topics: []string{topic}})
	var got []string
	var owned []brokers.Partition
	for range partitions {
		p := accept(t, sub)
		owned = append(owned, p)
		for last := end[p.ID()].Next - 1; ; {
			batch, err := p.Fetch(within(t), brokers.FetchLimit{Messages: 4})
			if err != nil {
				t.Fatal(err)
			}
			batch = slices.DeleteFunc(batch, func(m brokers.Message) bool { return m.Offset > last })
			for i := range batch {
				got = append(got, string(batch[i].Payload))
			}
			if n := len(batch); n > 0 {
				ok(t, p.Ack(brokers.Ack{UpTo: batch[n-1].Offset}))
			}
			if len(batch) == 0 || batch[len(batch)-1].Offset == last {
				break
			}
		}
	}
	for _, p := range owned { // not before: it might be offered again
		ok(t, p.Close(within(t)))
	}
	ok(t, sub.Close(within(t)))
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprint(i))
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("replayed %q; want %q", got, want)
	}
	for id := range int32(partitions) {
		if at := positionIn(t, replay, topic, id); at != end[id].Next {
			t.Errorf("partition %d: the replay ended at %d; want %d", id, at, end[id].Next)
		}
	}
}
