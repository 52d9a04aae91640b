package memory_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a broker with one topic "t", a publisher and helpers that fail the test.
type kit struct {
	*testing.T
	*memory.Broker
	server *memory.Server
	pub    *brokers.Publisher
}

func newKit(t *testing.T, cfg memory.Config) *kit {
	t.Helper()
	if cfg.Partitions == 0 {
		cfg.Partitions = 1
	}
	b := memory.New(cfg)
	k := &kit{T: t, Broker: b, server: b.Server()}
	k.ok(b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "t"}))
	k.pub = k.publisher(b)
	k.Cleanup(func() { k.ok(b.Close()) })
	return k
}

func (k *kit) publisher(b *memory.Broker) *brokers.Publisher {
	k.Helper()
	pub, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	k.ok(err)
	return pub
}

func (k *kit) ok(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// publish stores messages with the payloads from..to-1 in partition 0.
func (k *kit) publish(from, to int) {
	k.Helper()
	_, err := k.pub.Publish(k.Context(), numbers(from, to)...)
	k.ok(err)
}

func numbers(from, to int) []brokers.Message {
	var msgs []brokers.Message
	for n := from; n < to; n++ {
		msgs = append(msgs, brokers.Message{Topic: "t", Key: []byte("k"), Payload: fmt.Append(nil, n)})
	}
	return msgs
}

// join subscribes the group "g" to "t".
func (k *kit) join(b *memory.Broker, member string) brokers.Subscription {
	k.Helper()
	sub, err := b.Subscribe(k.Context(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, Member: member})
	k.ok(err)
	return sub
}

func (k *kit) accept(sub brokers.Subscription) brokers.Partition {
	k.Helper()
	p, err := sub.Accept(k.Context())
	k.ok(err)
	return p
}

// fetch wants just the payloads from..to-1, in that order.
func (k *kit) fetch(p brokers.Partition, from, to int) []brokers.Message {
	k.Helper()
	var got []brokers.Message
	for len(got) < to-from {
		batch, err := p.Fetch(k.Context(), brokers.FetchLimit{Messages: to - from - len(got)})
		k.ok(err)
		got = append(got, batch...)
	}
	k.want(got, from, to)
	return got
}

func (k *kit) want(got []brokers.Message, from, to int) {
	k.Helper()
	var texts, want []string
	for i := range got {
		texts = append(texts, string(got[i].Payload))
	}
	for n := from; n < to; n++ {
		want = append(want, fmt.Sprint(n))
	}
	if !slices.Equal(texts, want) {
		k.Fatalf("messages %v, want %v", texts, want)
	}
}

func (k *kit) ack(p brokers.Partition, upTo int64) {
	k.Helper()
	k.ok(p.Ack(brokers.Ack{UpTo: upTo}))
}

func (k *kit) position(want int64) {
	k.Helper()
	p, err := k.server.Progress("g", "t", 0)
	k.ok(err)
	if p.Position != want {
		k.Fatalf("position %d, want %d", p.Position, want)
	}
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
