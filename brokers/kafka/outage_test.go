package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// long says whether what takes minutes is to be done, as by the tests of chaos.
func long() bool { return os.Getenv("CHAOS_LONG") != "" }

// Scenario X04: the cluster is gone, and 10,000 publishes with a deadline of 1 s
// fail. Each says "not sent" or "outcome unknown", and that is true: what was not
// sent never appears. Memory stays flat. What is unknown may appear, and a repeat of
// it is told by its id.
func TestTimedOutPublishIsNotDeliveredLater(t *testing.T) {
	const n, partitions = 10_000, 6
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) { c.Dial = l.Dial })
	topic := newTopic(t, b, partitions)
	p := publisher(t, b, brokers.PublisherConfig{})
	payload := incompressible(1000)
	publish := func(id string) brokers.Outcome {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Publish(ctx, brokers.Message{ID: id, Topic: topic, Key: []byte(id), Payload: payload})
		var failed *brokers.PublishError
		if !errors.As(err, &failed) {
			t.Errorf("publish %s with the cluster gone: %v; want a PublishError", id, err)
			return brokers.Unknown
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publish %s: %v; want the deadline's error", id, err)
		}
		return failed.Failures[0].Outcome
	}
	var (
		mu       sync.Mutex
		outcomes = map[string]brokers.Outcome{}
	)
	// together publishes so many, each goroutine some of them.
	together := func(name string, n, each int) {
		var publishing sync.WaitGroup
		for g := range n / each {
			publishing.Go(func() {
				for i := range each {
					id := fmt.Sprintf("%s-%d-%d", name, g, i)
					o := publish(id)
					mu.Lock()
					outcomes[id] = o
					mu.Unlock()
				}
			})
		}
		publishing.Wait()
	}
	if _, err := p.Publish(within(t), messages(topic, 100, 100)...); err != nil {
		t.Fatal(err)
	}
	let := l.HoldAnswers()
	together("unanswered", 100, 1) // these reach the cluster, or some do
	l.Cut()
	let()
	before := heap()
	together("gone", n-100, 3)
	awaitHeap(t, before)
	if long() {
		for began := time.Now(); time.Since(began) < time.Minute; {
			together(fmt.Sprint("gone", time.Since(began)), 1000, 5)
		}
		awaitHeap(t, before)
	}
	l.Mend()

	// Whoever does not know publishes again.
	count := map[brokers.Outcome]int{}
	var again []brokers.Message
	for id, o := range outcomes {
		if count[o]++; o == brokers.Unknown {
			again = append(again, brokers.Message{ID: id, Topic: topic, Key: []byte(id), Payload: payload})
		}
	}
	t.Logf("%d not sent, %d unknown", count[brokers.NotSent], count[brokers.Unknown])
	if count[brokers.Refused] > 0 || count[brokers.NotSent] < (n-100)*9/10 {
		t.Errorf("outcomes are %v; want not sent but for what was on its way", count)
	}
	if _, err := p.Publish(within(t), again...); err != nil {
		t.Fatal(err)
	}
	endPartitions(t, b, topic, partitions)
	stored := map[string]int{}
	for _, id := range idsUntilEnds(t, topic, partitions) {
		stored[id]++
	}
	for id, o := range outcomes {
		switch n := stored[id]; {
		case o == brokers.NotSent && n > 0:
			t.Errorf("%s was not sent, and is there", id)
		case o == brokers.Unknown && (n < 1 || n > 2):
			t.Errorf("%s, unknown and published again, is there %d times; want 1 or 2, under its id", id, n)
		}
	}
	ok(t, p.Close(within(t)))
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// awaitHeap waits until no more memory is in use than before, but for a little.
func awaitHeap(t *testing.T, before int64) {
	t.Helper()
	const little = 4 << 20
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); heap() > before+little; {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("%d bytes are in use after the publishes have failed, %d before", heap(), before)
		}
	}
}

// endPartitions publishes a last message to each partition.
func endPartitions(t *testing.T, b *kafka.Broker, topic string, partitions int32) {
	t.Helper()
	for id := range partitions {
		put(t, b, topic, id, "end")
	}
}

// idsUntilEnds reads the ids of all messages of a topic, until each partition's last.
func idsUntilEnds(t *testing.T, topic string, partitions int) (ids []string) {
	t.Helper()
	c := reader(t, kgo.ConsumeTopics(topic))
	for ends := 0; ends < partitions; {
		fetches := c.PollFetches(within(t))
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d partitions were read: %v", ends, partitions, err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) == "end" {
				ends++
				continue
			}
			for _, h := range r.Headers {
				if h.Key == "troupe-id" {
					ids = append(ids, string(h.Value))
				}
			}
		}
	}
	return ids
}

// The cluster cannot be reached for longer than a session, a rebalance, a request and
// the interval of metadata last, each of them made shorter for that; or for more than
// a minute, with the times that are the defaults. Members lose what they own, and
// Health says why; then all goes on by itself, and what is copied in transactions is
// there once.
func TestClusterGone(t *testing.T) {
	t.Parallel()
	gone, change := 5*time.Second, func(c *kafka.Config) {
		c.SessionTimeout, c.HeartbeatInterval, c.RebalanceTimeout = 2*time.Second, 200*time.Millisecond, 3*time.Second
		c.RequestTimeout, c.DialTimeout, c.MetadataInterval = time.Second, time.Second, 500*time.Millisecond
	}
	if long() {
		gone, change = 70*time.Second, func(*kafka.Config) {}
	}
	const partitions = 4
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) { change(c); c.Dial = l.Dial })
	from, to := newTopic(t, b, partitions), newTopic(t, b, partitions)
	stop := feed(t, b, from)
	var members []*copier
	for range 2 {
		c, err := newCopier(t.Context(), b, from, from, to)
		ok(t, err)
		members = append(members, c)
	}
	sum := func(of func(*copier) int64) (n int64) {
		for _, c := range members {
			n += of(c)
		}
		return n
	}
	copied := func() int64 { return sum(func(c *copier) int64 { return c.copied.Load() }) }
	await(t, "some messages copied by each member", func() bool { return members[0].copied.Load() > 100 && members[1].copied.Load() > 100 })

	lost := func() int64 { return sum(func(c *copier) int64 { return c.lost.Load() }) }
	lostBefore := lost()
	l.Cut()
	await(t, "Health not connected", func() bool { return !b.Health(within(t)).Connected })
	<-time.After(gone)
	if lost() == lostBefore {
		t.Error("no epoch has ended, though the group may have given its partition away")
	}
	for _, sub := range b.Health(within(t)).Subscriptions {
		if sub.State != brokers.StateConnecting || sub.Err == nil || len(sub.Partitions) > 0 {
			t.Errorf("with the cluster gone a subscription is %v, because of %v, and has %d partitions; want connecting, a reason and none", sub.State, sub.Err, len(sub.Partitions))
		}
	}
	before := copied()
	l.Mend()
	await(t, "Health connected", func() bool { return b.Health(within(t)).Connected })
	await(t, "more messages copied", func() bool { return copied() > before+500 })
	n := stop()
	awaitPositions(t, from, partitions, n)
	for _, c := range members {
		c.stop(t)
	}
	onceInOrder(t, to, n)
	t.Logf("%d messages, copied %d times", n, copied())
}

// await waits until is says true.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); !is(); {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
