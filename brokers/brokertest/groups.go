package brokertest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Each group gets every message.
func groupsAreApart(e *env) {
	a, b := e.group(), e.group()
	name := e.topic(1, a, b)
	e.publish(numbered(name, 0, "k", 0, 5)...)
	subA := e.subscribe(e.broker, a, name)
	p := e.accept(subA)
	got := e.fetch(p, 5)
	e.ack(p, got[4].Offset)
	e.close(p)
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, b, name)), 5), 0, 5)
}

// A new group begins at the oldest message, or behind the newest.
func startLatest(e *env) {
	group := e.group()
	name := e.topic(1)
	e.publishBefore(numbered(name, 0, "old", 0, 3)...)
	e.ensure(name, 1, group)
	sub := e.subscribeAs(e.broker, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, Start: brokers.StartLatest,
	})
	// When the group has joined is the broker's secret: publish until it shows.
	ctx := e.within()
	reading := start("Accept and Fetch", func() ([]brokers.Message, error) {
		p, err := sub.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return p.Fetch(ctx, brokers.FetchLimit{Messages: 1})
	})
	pub := e.publisher(e.broker, brokers.PublisherConfig{})
	for n := 0; !happened(reading.done); n++ {
		_, err := pub.Publish(e.within(), numbered(name, 0, "new", n, n+1)...)
		e.ok(err, "Publish")
		select {
		case <-reading.done:
		case <-time.After(20 * time.Millisecond):
		}
	}
	got, err := reading.wait(e)
	e.ok(err, "Accept and Fetch")
	if string(got[0].Key) != "new" {
		e.Errorf("StartLatest: got %q, which was published before the group came", got[0].Payload)
	}
}

func startEarliest(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 3)...)
	sub := e.subscribeAs(e.broker, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, Start: brokers.StartEarliest,
	})
	e.wantNumbers(e.fetch(e.accept(sub), 3), 0, 3)
}

// A group may begin at a time: at the first message that is not older.
func startAtTime(e *env) {
	group := e.group()
	name := e.topic(1)
	e.publishBefore(numbered(name, 0, "k", 0, 3)...)
	select {
	case <-time.After(20 * time.Millisecond): // the broker may keep time in milliseconds
	case <-e.within().Done():
	}
	at := time.Now()
	e.ensure(name, 1, group)
	e.publish(numbered(name, 0, "k", 3, 5)...)
	cfg := brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, Start: brokers.StartAtTime, StartTime: at.Truncate(time.Millisecond),
	}
	sub, err := e.broker.Subscribe(e.within(), cfg)
	if errors.Is(err, brokers.ErrUnsupported) {
		e.Skip("the broker keeps nothing to begin at a time")
	}
	e.ok(err, "Subscribe")
	e.Cleanup(func() { _ = e.returns("Subscription.Close", func() error { return sub.Close(ended()) }) })
	e.wantNumbers(e.fetch(e.accept(sub), 2), 3, 5)
}

// A position, once there is one, is stronger than Start.
func startHasPosition(e *env) {
	p, sub, name, group := e.seeded(4)
	got := e.fetch(p, 4)
	e.ack(p, got[1].Offset)
	e.close(p)
	e.leave(sub)
	next := e.subscribeAs(e.broker, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, Start: brokers.StartLatest,
	})
	e.wantNumbers(e.fetch(e.accept(next), 2), 2, 4)
}

const balancedPartitions = 12

// crew is a group of workers on one topic, with a publisher that keeps all
// partitions busy.
type crew struct {
	*env
	ledger *ledger
	cfg    brokers.SubscriptionConfig
	pub    *brokers.Publisher
	round  int
}

func (e *env) crew() *crew {
	e.Helper()
	group := e.group()
	name := e.topic(balancedPartitions, group)
	return &crew{
		env: e, ledger: newLedger(),
		cfg: brokers.SubscriptionConfig{Group: group, Topics: []string{name}},
		pub: e.publisher(e.broker, brokers.PublisherConfig{}),
	}
}

func (c *crew) hire(name string) *worker {
	c.Helper()
	return c.work(name, c.ledger, c.cfg, handleAll)
}

// publishRound stores one message in each partition.
func (c *crew) publishRound() {
	c.Helper()
	var msgs []brokers.Message
	for id := range int32(balancedPartitions) {
		msgs = append(msgs, numbered(c.cfg.Topics[0], id, fmt.Sprint("key", id), c.round, c.round+1)...)
	}
	_, err := c.pub.Publish(c.within(), msgs...)
	c.ok(err, "Publish")
	c.round++
}

// settle publishes until all workers are within one of even, and everything
// published has been handled.
func (c *crew) settle(workers ...*worker) {
	c.Helper()
	began := time.Now()
	for !c.balanced(workers) {
		if time.Since(began) > c.h.BalanceWithin {
			c.audit(c.ledger)
			c.Fatalf("%d members are not within one of even after %v: %s", len(workers), c.h.BalanceWithin, c.shares(workers))
		}
		c.publishRound()
		c.handledAll()
	}
}

// handledAll waits until all that was published is handled.
func (c *crew) handledAll() {
	c.Helper()
	c.await(c.ledger, fmt.Sprintf("%d messages of each partition are handled", c.round), func() bool {
		for id := range balancedPartitions {
			if c.ledger.highest[fmt.Sprint("key", id)] < c.round-1 || c.round > 0 && len(c.ledger.seen) < balancedPartitions*c.round {
				return false
			}
		}
		return true
	})
}

func (c *crew) balanced(workers []*worker) bool {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	owned, total := c.ledger.owned(), 0
	for _, w := range workers {
		n := owned[w]
		total += n
		if n < balancedPartitions/len(workers) || n > (balancedPartitions+len(workers)-1)/len(workers) {
			return false
		}
	}
	return total == balancedPartitions
}

func (c *crew) shares(workers []*worker) string {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	text := ""
	for _, w := range workers {
		text += fmt.Sprintf("%s owns %d; ", w.name, c.ledger.owned()[w])
	}
	return text
}

// Two, three, then two members come to be within one of even; all is handled,
// in order per key, and never by two at once.
func balanceStopped(e *env) {
	c := e.crew()
	first, second := c.hire("first"), c.hire("second")
	c.settle(first, second)
	third := c.hire("third")
	c.settle(first, second, third)
	third.stop()
	c.settle(first, second)
	c.audit(c.ledger)
	repeats := c.ledger.repeats()
	switch lost := c.ledger.lostEpochs(); {
	case lost > 0:
		// On a starved machine a lease may run out: that is no hand-over, and
		// what was not acknowledged by then comes again.
		e.Logf("%d epochs were lost; %d messages were handled again", lost, len(repeats))
	case len(repeats) > 0:
		e.Errorf("%d messages were handled again though each was acknowledged before its partition was given back: %.200q", len(repeats), repeats)
	}
}

// The same when the third is killed: what it had acknowledged may be handled
// again, nothing is lost or out of order.
func balanceKilled(e *env) {
	e.needs(e.h.Kill != nil, "the harness cannot kill")
	c := e.crew()
	first, second := c.hire("first"), c.hire("second")
	c.settle(first, second)
	third := c.hire("third")
	c.settle(first, second, third)
	third.kill()
	c.settle(first, second)
	c.audit(c.ledger)
}

// A member that is killed while it handles messages loses them to the next
// owner, in order.
func killedAtWork(e *env) {
	e.needs(e.h.Kill != nil, "the harness cannot kill")
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 20)...)
	l := newLedger()
	cfg := brokers.SubscriptionConfig{Group: group, Topics: []string{name}}
	busy, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	var once sync.Once
	doomed := e.work("doomed", l, cfg, func(_ brokers.Partition, m *brokers.Message) {
		if number(m) == 7 {
			once.Do(func() { close(busy) })
			<-release
		}
	})
	e.happens(busy, "message 7 is being handled")
	doomed.kill()
	e.work("heir", l, cfg, handleAll)
	e.await(l, "the heir handled all", func() bool { return l.highest["k"] == 19 })
	e.audit(l)
	if n := l.seen["k/7"]; n != 1 {
		e.Errorf("message 7 was handled %d times to its end; want once, by the heir", n)
	}
}

// A member that leaves while messages flow gives its partitions over with
// nothing lost, repeated or out of order.
func stoppedAtWork(e *env) {
	c := e.crew()
	first := c.hire("first")
	c.settle(first)
	second := c.hire("second")
	for range 50 {
		c.publishRound()
	}
	first.stop()
	for range 10 {
		c.publishRound()
	}
	c.handledAll()
	c.audit(c.ledger)
	if repeats := c.ledger.repeats(); len(repeats) > 0 {
		e.Errorf("%d messages were handled again: %.200q", len(repeats), repeats)
	}
	c.settle(second)
}

// Members come, leave and die while messages flow.
func churn(e *env) {
	c := e.crew()
	crew := []*worker{c.hire("m0"), c.hire("m1")}
	for i := range 4 {
		crew = append(crew, c.hire(fmt.Sprint("m", i+2)))
		c.publishRound()
		c.publishRound()
		oldest := crew[0]
		crew = crew[1:]
		if i%2 == 0 || e.h.Kill == nil {
			oldest.stop()
		} else {
			oldest.kill()
		}
		c.publishRound()
	}
	c.handledAll()
	c.settle(crew...)
	c.audit(c.ledger)
}

// A group goes on after a fault that the harness can cause, with nothing lost
// or out of order.
func mends(do func(topic, group string) error) func(*env) {
	return func(e *env) {
		c := e.crew()
		c.hire("first")
		c.hire("second")
		for range 3 {
			c.publishRound()
		}
		c.handledAll()
		e.ok(do(c.cfg.Topics[0], c.cfg.Group), "the harness's fault")
		for range 3 {
			c.publishRound()
		}
		c.handledAll()
		c.audit(c.ledger)
	}
}
