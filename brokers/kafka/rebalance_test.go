package kafka_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// Partitions that are added while a group runs are read from their beginning, also
// by a group that began with the latest: all that is in them came after it.
func TestPartitionsAdded(t *testing.T) {
	t.Parallel()
	b := openQuick(t, func(c *kafka.Config) { c.MetadataInterval = 200 * time.Millisecond })
	topic := newTopic(t, b, 1)
	put(t, b, topic, 0, "old")
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}, Start: brokers.StartLatest})
	first := accept(t, sub)
	addPartitions(t, topic, 2)
	putNew(t, topic, 1, "early")
	p := accept(t, sub)
	if got, _ := fetch(t, p, 1); p.ID() != 1 || got[0] != "early" {
		t.Errorf("partition %d begins with %q", p.ID(), got)
	}
	put(t, b, topic, 0, "new")
	if got, _ := fetch(t, first, 1); got[0] != "new" {
		t.Errorf("partition 0 goes on with %q", got)
	}
	if first.Context().Err() != nil {
		t.Errorf("the epoch of partition 0 ended: %v", context.Cause(first.Context()))
	}
}

func addPartitions(t *testing.T, topic string, total int32) {
	t.Helper()
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis = 10_000
	of := kmsg.NewCreatePartitionsRequestTopic()
	of.Topic, of.Count = topic, total
	request.Topics = append(request.Topics, of)
	answer, err := request.RequestWith(within(t), reader(t))
	if err != nil || answer.Topics[0].ErrorCode != 0 {
		t.Fatalf("add partitions: %+v, %v", answer, err)
	}
	awaitPartitions(t, topic, int(total))
}

// awaitPartitions waits until the cluster says that a topic has so many, each with
// a leader: it answers a request to make them before its own metadata show them.
func awaitPartitions(t *testing.T, topic string, total int) {
	t.Helper()
	request := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = &topic
	request.Topics = append(request.Topics, of)
	c := reader(t)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); ; {
		answer, err := request.RequestWith(ctx, c)
		if err != nil {
			t.Fatalf("metadata of %q: %v", topic, err)
		}
		led := 0
		for _, p := range answer.Topics[0].Partitions {
			if p.ErrorCode == 0 && p.Leader >= 0 {
				led++
			}
		}
		if led == total {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("topic %q has %d partitions with a leader; want %d", topic, led, total)
		}
	}
}

// A rebalance leaves the epochs that stay here as they are.
func TestRetainedEpochGoesOn(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 4)
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	first := subscribe(t, b, cfg)
	owned := map[int32]brokers.Partition{}
	for range 4 {
		p := accept(t, first)
		owned[p.ID()] = p
	}
	second := subscribe(t, openQuick(t, nil), cfg)
	revoked := make(chan brokers.Partition, len(owned))
	for _, p := range owned {
		go func() {
			select {
			case <-p.Revoking():
				revoked <- p
			case <-t.Context().Done():
			}
		}()
	}
	for range 2 {
		select {
		case p := <-revoked:
			delete(owned, p.ID())
			if err := p.Close(within(t)); err != nil {
				t.Error(err)
			}
		case <-within(t).Done():
			t.Fatal("nothing was wanted back")
		}
	}
	accept(t, second)
	accept(t, second)
	for id, p := range owned {
		put(t, b, topic, id, "on")
		if got, _ := fetch(t, p, 1); got[0] != "on" || p.Context().Err() != nil {
			t.Errorf("partition %d: got %q, epoch ended: %v", id, got, context.Cause(p.Context()))
		}
	}
}

// Scenario B04: a handler that takes longer than SessionTimeout, amid a rebalance,
// gets its member expelled from nothing: heartbeats go on, what it acknowledges in
// the end counts, and the next owner begins behind it.
func TestSlowHandlerInRebalance(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 2)
	put(t, b, topic, 0, "0", "1")
	put(t, b, topic, 1, "0", "1")
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	sub := subscribe(t, b, cfg)
	one, two := accept(t, sub), accept(t, sub)
	at := map[brokers.Partition]int64{}
	for _, p := range []brokers.Partition{one, two} {
		_, msgs := fetch(t, p, 1)
		at[p] = msgs[0].Offset
	}
	second := subscribe(t, openQuick(t, nil), cfg)
	p, kept := wantedBack(t, one, two)
	select {
	case <-time.After(5 * time.Second): // the session time-out is 3 s, and the handler is at work
	case <-p.Context().Done():
		t.Fatalf("expelled amid its work: %v", context.Cause(p.Context()))
	case <-kept.Context().Done():
		t.Fatalf("expelled from what it kept: %v", context.Cause(kept.Context()))
	}
	if err := p.Ack(brokers.Ack{UpTo: at[p]}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	next := accept(t, second)
	if got, _ := fetch(t, next, 1); next.ID() != p.ID() || got[0] != "1" {
		t.Errorf("partition %d begins with %q", next.ID(), got)
	}
	if got, _ := fetch(t, kept, 1); got[0] != "1" {
		t.Errorf("what was kept goes on with %q", got)
	}
}

// A static member that goes and comes back has the partition that it had; the
// other member's epoch goes on all the time.
func TestStaticMember(t *testing.T) {
	t.Parallel()
	static := func(c *kafka.Config) { c.InstanceID, c.SessionTimeout = "one", 20*time.Second }
	b := openQuick(t, static)
	topic := newTopic(t, b, 2)
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	sub := subscribe(t, b, cfg)
	one, two := accept(t, sub), accept(t, sub)
	other := subscribe(t, openQuick(t, nil), cfg)
	moved, mine := wantedBack(t, one, two)
	if err := moved.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	theirs := accept(t, other)
	closeAll(t, mine, sub)
	sub = subscribe(t, openQuick(t, static), cfg)
	if back := accept(t, sub); back.ID() != mine.ID() {
		t.Errorf("came back to partition %d; want %d", back.ID(), mine.ID())
	}
	select {
	case <-theirs.Revoking():
		t.Error("the other member's partition was wanted back")
	default:
	}
	if theirs.Context().Err() != nil {
		t.Errorf("the other member's epoch ended: %v", context.Cause(theirs.Context()))
	}
}

// A static member that comes back with other topics is given these, and nothing of
// those that it has no more: the coordinator at first answers with what it had.
func TestStaticMemberOfOtherTopics(t *testing.T) {
	for name, assignor := range map[string]kafka.Assignor{"CooperativeSticky": kafka.AssignCooperativeSticky, "Range": kafka.AssignRange} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			static := func(c *kafka.Config) {
				c.InstanceID, c.SessionTimeout, c.Assignor = "one", 20*time.Second, assignor
			}
			b := openQuick(t, static)
			first, second, third := newTopic(t, b, 1), newTopic(t, b, 1), newTopic(t, b, 1)
			for _, topic := range []string{first, second, third} {
				put(t, b, topic, 0, "of "+topic)
			}
			for _, topics := range [][]string{{first}, {second}, {second, third}} {
				sub := subscribe(t, openQuick(t, static), brokers.SubscriptionConfig{Group: first, Topics: topics})
				readFirst(t, sub, topics)
			}
		})
	}
}

// readFirst reads the first message of one partition of each topic, gives back what
// is wanted back, and closes the subscription.
func readFirst(t *testing.T, sub brokers.Subscription, topics []string) {
	t.Helper()
	var owners sync.WaitGroup
	seen := map[string]bool{}
	for len(seen) < len(topics) {
		p := accept(t, sub)
		owners.Go(func() {
			<-p.Revoking()
			if err := p.Close(within(t)); err != nil {
				t.Error(err)
			}
		})
		if !slices.Contains(topics, p.Topic()) {
			t.Fatalf("given a partition of %q; subscribed to %q", p.Topic(), topics)
		}
		msgs, err := p.Fetch(within(t), brokers.FetchLimit{Messages: 1})
		switch {
		case errors.Is(err, brokers.ErrRevoked): // and offered again
		case err != nil || string(msgs[0].Payload) != "of "+p.Topic():
			t.Fatalf("%q begins with %v, %v", p.Topic(), msgs, err)
		default:
			seen[p.Topic()] = true
		}
	}
	if err := sub.Close(within(t)); err != nil {
		t.Error(err)
	}
	owners.Wait()
}

// wantedBack waits until one of two partitions is to be given back.
func wantedBack(t *testing.T, one, two brokers.Partition) (wanted, kept brokers.Partition) {
	t.Helper()
	select {
	case <-one.Revoking():
		return one, two
	case <-two.Revoking():
		return two, one
	case <-within(t).Done():
		t.Fatal("nothing was wanted back")
		return nil, nil
	}
}
