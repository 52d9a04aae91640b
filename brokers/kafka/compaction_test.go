package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// compacted makes a topic of which the cluster has removed what is superseded. It has
// the keys a, b and c thrice, of which c is deleted in the end, a batch each, and then
// what compaction leaves alone.
func compacted(t *testing.T, b *kafka.Broker) (topic string, left []*kgo.Record) {
	t.Helper()
	topic = newTopic(t, b, 1)
	c := reader(t)
	produce := func(key string, value []byte) {
		t.Helper()
		ok(t, c.ProduceSync(within(t), &kgo.Record{Topic: topic, Key: []byte(key), Value: value}).FirstErr())
	}
	for round := range 3 {
		for _, key := range []string{"a", "b", "c"} {
			value := fmt.Appendf(nil, "%s%d", key, round)
			if round == 2 && key == "c" {
				value = nil
			}
			produce(key, value)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for n := 9; ; n++ {
		produce(fmt.Sprint("head ", n), []byte("new")) // so that what is before can be compacted
		left = readUntil(ctx, t, topic, int64(n))
		if len(left) > 3 && left[2].Offset >= 6 && left[3].Offset >= 9 {
			return topic, left
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatal("nothing was compacted")
		}
	}
}

// readUntil reads a topic up to an offset.
func readUntil(ctx context.Context, t *testing.T, topic string, last int64) []*kgo.Record {
	t.Helper()
	c := reader(t, kgo.ConsumeTopics(topic))
	defer c.Close()
	var got []*kgo.Record
	for len(got) == 0 || got[len(got)-1].Offset < last {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %d records: %v", len(got), err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

// Offsets that compaction has removed are passed over, also where a group is to go on
// at one; what is deleted comes as a message without payload; the position passes all.
func TestCompacted(t *testing.T) {
	t.Parallel()
	b := openQuick(t, func(c *kafka.Config) {
		c.OffsetReset = kafka.ResetFail
		c.TopicConfigs = map[string]string{"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
	})
	topic, left := compacted(t, b)
	for _, from := range []int64{0, 4, 7} {
		group := fmt.Sprint(topic, from)
		ok(t, b.SetPositions(within(t), group, kafka.GroupOffset{Topic: topic, Next: from}))
		sub := subscribe(t, b, brokers.SubscriptionConfig{Group: group, Topics: []string{topic}})
		p := accept(t, sub)
		want := slices.Clone(left)
		for want[0].Offset < from {
			want = want[1:]
		}
		_, got := fetch(t, p, len(want))
		for i, m := range got {
			if r := want[i]; m.Offset != r.Offset || string(m.Key) != string(r.Key) || string(m.Payload) != string(r.Value) || (m.Payload == nil) != (r.Value == nil) {
				t.Errorf("from %d on: %q, %q at %d; want %q, %q at %d", from, m.Key, m.Payload, m.Offset, r.Key, r.Value, r.Offset)
			}
		}
		end := got[len(got)-1].Offset
		ok(t, p.Ack(brokers.Ack{UpTo: end}))
		closeAll(t, p, sub)
		if at := positionIn(t, group, topic, 0); at != end+1 {
			t.Errorf("from %d on: position %d; want %d", from, at, end+1)
		}
	}
}
