package nats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// Short cuts of the connection, at any moment, lose nothing and reorder nothing,
// and none of them holds anything up for long.
func TestShortCuts(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			shortCuts(t, change)
		})
	}
}

func shortCuts(t *testing.T, change func(*nats.Config)) {
	ls := embeddedLines(startEmbedded(t))
	ls.change = change
	b, steady := open(t, ls), open(t, ls)
	topic := makeTopic(t, b, 3)
	r := read(t, subscribe(t, b, name("group"), topic))
	keys := []string{"key0", "key1", "key2"}
	for round := range 8 {
		for p, key := range keys {
			publish(t, steady, numbered(topic, int32(p), key, 20*round, 20*round+20)...)
		}
		<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
		ls.line(b).cut()
		ls.line(b).mend()
		began := time.Now()
		r.await(t, 20*round+19, keys...)
		if took := time.Since(began); took > 3*lease {
			t.Fatalf("round %d was handled %v after the cut", round, took)
		}
	}
}

// gapped is an owner that has fetched 0 to 9 and acknowledged 0, 1, 2, 5 and 7.
func gapped(t *testing.T, b brokers.Broker, topic, group string) (brokers.Subscription, brokers.Partition) {
	t.Helper()
	publish(t, b, numbered(topic, 0, "k", 0, 10)...)
	s := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	got := fetch(t, p, 10)
	wantNumbers(t, got, 0, 10)
	if err := p.Ack(brokers.Ack{UpTo: got[2].Offset, Above: []int64{got[7].Offset, got[5].Offset}}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

var unacknowledged = []int{3, 4, 6, 8, 9}

func wantUnacknowledged(t *testing.T, got []brokers.Message) {
	t.Helper()
	var numbers []int
	for i := range got {
		numbers = append(numbers, number(&got[i]))
	}
	if !slices.Equal(numbers, unacknowledged) {
		t.Fatalf("got %v; want %v", numbers, unacknowledged)
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// wantRevoked waits for the end of an epoch, and closes it.
func wantRevoked(t *testing.T, p brokers.Partition) {
	t.Helper()
	select {
	case <-p.Context().Done():
	case <-within(t).Done():
		t.Fatal("the epoch did not end")
	}
	if cause := context.Cause(p.Context()); !errors.Is(cause, brokers.ErrRevoked) {
		t.Fatalf("the epoch ended with %v; want ErrRevoked", cause)
	}
	_ = p.Close(within(t)) // its acknowledgements may be void
}

// acked waits until the server has so many messages unacknowledged.
func acked(t *testing.T, ls *lines, topic, group string, left int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages are unacknowledged", left), func() bool {
		pending := -1
		err := ls.manage(func(ctx context.Context, s jetstream.Stream, consumer string) error {
			c, err := s.Consumer(ctx, consumer)
			if err == nil {
				pending = c.CachedInfo().NumAckPending
			}
			return err
		}, topic, group)
		return err == nil && pending == left
	})
}

// A consumer that is deleted is made again at the first message that is not
// acknowledged, and what was acknowledged above that does not come again.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	for title, whileCut := range map[string]bool{"Idle": false, "WhileCut": true} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ls := embeddedLines(startEmbedded(t))
			b := open(t, ls)
			topic, group := makeTopic(t, b, 1), name("group")
			s, p := gapped(t, b, topic, group)
			if whileCut {
				ls.line(b).cut()
			}
			if err := ls.manage(deleteConsumer, topic, group); err != nil {
				t.Fatal(err)
			}
			if whileCut {
				ls.line(b).mend()
			}
			began := time.Now()
			wantRevoked(t, p)
			p = accept(t, s)
			wantUnacknowledged(t, fetch(t, p, len(unacknowledged)))
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			publish(t, b, numbered(topic, 0, "k", 10, 12)...)
			wantNumbers(t, fetch(t, p, 2), 10, 12)
		})
	}
}

// Whoever resets a consumer wants its messages again.
func TestOperatorResets(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	s, p := gapped(t, b, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	err := ls.manage(func(ctx context.Context, s jetstream.Stream, consumer string) error {
		_, err := s.ResetConsumerToSequence(ctx, consumer, 1)
		return err
	}, topic, group)
	if err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, p)
	wantNumbers(t, fetch(t, accept(t, s), 10), 0, 10)
}

// A topic that is deleted and made again is read from its first message on.
func TestTopicMadeAgain(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	s, p := gapped(t, b, topic, group)
	if err := ls.deleteStream(topic); err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, p)
	eventually(t, "Health says that there is no topic", func() bool {
		return b.Health(t.Context()).Subscriptions[0].State == brokers.StateNoPartitions
	})
	if err := b.EnsureTopic(within(t), brokers.TopicConfig{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, numbered(topic, 0, "k", 0, 5)...)
	wantNumbers(t, fetch(t, accept(t, s), 5), 0, 5)
}
