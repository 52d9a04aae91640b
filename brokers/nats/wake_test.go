package nats_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// Partitions without any message have an owner, and another when that is gone.
// What is published for it nobody sees, and nothing is left of it.
func TestIdlePartitionsAreOwned(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	const partitions = 3
	first, second := open(t, ls), open(t, ls)
	topic, group, other := makeTopic(t, first, partitions), name("group"), name("group")
	sub := subscribe(t, first, group, topic)
	beside := subscribe(t, first, other, topic) // is woken by the other's messages too
	for range partitions {
		accept(t, sub)
		accept(t, beside)
	}
	heir := subscribe(t, second, group, topic)
	ls.line(first).cut() // a crash
	owned := map[int32]brokers.Partition{}
	for len(owned) < partitions {
		p := accept(t, heir)
		owned[p.ID()] = p
	}
	eventually(t, "nothing is left in the stream, nor for a consumer", func() bool {
		stored, pending := ls.count(t, topic)
		return stored+pending == 0
	})
	for id, p := range owned {
		publish(t, second, numbered(topic, id, "k", 0, 5)...)
		got := fetch(t, p, 5)
		wantNumbers(t, got, 0, 5)
		if err := p.Ack(brokers.Ack{UpTo: got[4].Offset}); err != nil {
			t.Errorf("the epoch of idle partition %d has ended: %v", id, err)
		}
	}
}

// stored counts messages of a topic.
func (ls *lines) stored(tb testing.TB, topic string) (n int) {
	tb.Helper()
	n, _ = ls.count(tb, topic)
	return n
}

// count counts messages of a topic, and deliveries that are not acknowledged.
func (ls *lines) count(tb testing.TB, topic string) (stored, pending int) {
	tb.Helper()
	err := ls.admin(func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, topic)
		if err != nil {
			return err
		}
		stored = int(stream.CachedInfo().State.Msgs)
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			pending += info.NumAckPending
		}
		return consumers.Err()
	})
	if err != nil {
		tb.Fatal(err)
	}
	return stored, pending
}

// A stream that takes no messages with a time to live has its partitions owned
// from their next message on.
func TestIdlePartitionOfAStreamWithoutTTL(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	topic := name("topic")
	err := ls.admin(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: topic, Subjects: []string{topic + ".p.*"}, Metadata: map[string]string{"troupe.partitions": "1"},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, ls)
	sub := subscribe(t, b, name("group"), topic)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if p, err := sub.Accept(ctx); err == nil {
		t.Fatalf("partition %d is owned without a message", p.ID())
	}
	publish(t, b, numbered(topic, 0, "k", 0, 1)...)
	wantNumbers(t, fetch(t, accept(t, sub), 1), 0, 1)
}
