package brokertest

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/troupe-go/troupe/brokers"
)

// EnsureTopic makes a missing topic and accepts one that fits.
func ensureTopicRepeats(e *env) {
	name := e.topic(3)
	e.ensure(name, 3)
	group := e.group()
	e.ensure(name, 3, group)
	sub := e.subscribe(e.broker, group, name)
	e.eventually("Subscription.Partitions is 3", func() bool { return sub.Partitions(name) == 3 })
}

// Members that start together may all make the topic.
func ensureTopicTogether(e *env) {
	group := e.group()
	cfg := brokers.TopicConfig{Name: e.h.Name("topic"), Partitions: 3, Groups: []string{group}}
	ctx := e.within()
	conns := []brokers.Broker{e.broker, e.open()}
	var next atomic.Int32
	e.together(4, "EnsureTopic", func() error {
		return conns[int(next.Add(1))%len(conns)].EnsureTopic(ctx, cfg)
	})
	e.ensure(cfg.Name, 3, group)
}

func ensureTopicDefault(e *env) {
	group := e.group()
	name := e.topic(0, group)
	sub := e.subscribe(e.broker, group, name)
	e.eventually("Subscription.Partitions is 12", func() bool { return sub.Partitions(name) == 12 })
}

// Another partition count is an error that names both, and changes nothing.
func ensureTopicMismatch(e *env) {
	name := e.topic(3)
	err := e.broker.EnsureTopic(e.within(), brokers.TopicConfig{Name: name, Partitions: 5})
	if err == nil {
		e.Fatal("EnsureTopic: 5 partitions of a topic that has 3 gave no error")
	}
	if text := err.Error(); !strings.Contains(text, "3") || !strings.Contains(text, "5") {
		e.Errorf("EnsureTopic: %q does not name both counts, 3 and 5", text)
	}
	e.ensure(name, 3)
}

func ensureTopicInvalid(e *env) {
	e.is(e.broker.EnsureTopic(e.within(), brokers.TopicConfig{Partitions: 3}), brokers.ErrInvalid, "EnsureTopic without a name")
}

// A topic may be made after the subscription: it is then accepted from its
// first message.
func topicLater(e *env) {
	group, name := e.group(), e.h.Name("topic")
	sub := e.subscribe(e.broker, group, name)
	if n := sub.Partitions(name); n != 0 {
		e.Errorf("Partitions of a topic that does not exist: %d; want 0", n)
	}
	e.acceptNothing(sub)
	e.eventually("SubscriptionHealth.State is StateNoPartitions", func() bool {
		return e.subscriptionHealth(e.broker, group).State == brokers.StateNoPartitions
	})

	e.ensure(name, 3, group)
	for id := range int32(3) {
		e.publish(numbered(name, id, "k", 0, 2)...)
	}
	for _, p := range e.acceptAll(sub, 3) {
		e.wantNumbers(e.fetch(p, 2), 0, 2)
	}
	if n := sub.Partitions(name); n != 3 {
		e.Errorf("Partitions: %d; want 3", n)
	}
}

// One topic of a subscription may be missing while the other is read.
func topicLaterBesideAnother(e *env) {
	group, late := e.group(), e.h.Name("topic")
	early := e.topic(1, group)
	e.publish(numbered(early, 0, "k", 0, 1)...)
	sub := e.subscribe(e.broker, group, early, late)
	e.wantNumbers(e.fetch(e.accept(sub), 1), 0, 1)

	e.ensure(late, 1, group)
	e.publish(numbered(late, 0, "k", 0, 1)...)
	p := e.accept(sub)
	if p.Topic() != late {
		e.Fatalf("accepted a partition of %q; want %q", p.Topic(), late)
	}
	e.wantNumbers(e.fetch(p, 1), 0, 1)
}

func subscribeInvalid(e *env) {
	for _, c := range []struct {
		field string
		cfg   brokers.SubscriptionConfig
	}{
		{"Group", brokers.SubscriptionConfig{Topics: []string{"t"}}},
		{"Topics", brokers.SubscriptionConfig{Group: "g"}},
		{"StartTime", brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, Start: brokers.StartAtTime}},
		{"MaxUnsettled", brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, MaxUnsettled: -1}},
		{"DrainTimeout", brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, DrainTimeout: -1}},
		{"AckInterval", brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, AckInterval: -1}},
	} {
		_, err := e.broker.Subscribe(e.within(), c.cfg)
		e.is(err, brokers.ErrInvalid, "Subscribe with a wrong "+c.field)
		if !strings.Contains(err.Error(), c.field) {
			e.Errorf("Subscribe: %q does not name the field %s", err, c.field)
		}
	}
}

// Once Subscribe has returned, its context no longer matters.
func subscribeContextEnds(e *env) {
	group := e.group()
	name := e.topic(1, group)
	ctx, cancel := context.WithCancel(e.within())
	sub, err := e.broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: group, Topics: []string{name}})
	cancel()
	e.ok(err, "Subscribe")
	e.Cleanup(func() { _ = e.returns("Subscription.Close", func() error { return sub.Close(ended()) }) })
	e.publish(numbered(name, 0, "k", 0, 2)...)
	p := e.accept(sub)
	e.wantNumbers(e.fetch(p, 2), 0, 2)
	e.kept(map[int32]brokers.Partition{0: p})
}

// subscriptionHealth returns the health of the group's membership on b; the
// zero value if there is none.
func (e *env) subscriptionHealth(b brokers.Broker, group string) brokers.SubscriptionHealth {
	e.Helper()
	for _, s := range b.Health(e.within()).Subscriptions {
		if s.Group == group {
			return s
		}
	}
	return brokers.SubscriptionHealth{}
}

func healthStates(e *env) {
	group := e.group()
	name := e.topic(1, group)
	h := e.broker.Health(e.within())
	if !h.Connected || h.Err != nil {
		e.Fatalf("Health of an open connection: Connected %v, Err %v", h.Connected, h.Err)
	}
	if h.Since.IsZero() {
		e.Error("Health.Since is zero")
	}
	sub := e.subscribe(e.broker, group, name)
	e.publish(numbered(name, 0, "k", 0, 3)...)
	p := e.accept(sub)
	e.eventually("StateOwning with the partition", func() bool {
		s := e.subscriptionHealth(e.broker, group)
		return s.State == brokers.StateOwning && len(s.Partitions) == 1 &&
			s.Partitions[0].Topic == name && s.Partitions[0].Partition == 0 && s.Partitions[0].Epoch == p.Epoch()
	})
	other := e.open()
	e.subscribe(other, group, name)
	e.eventually("StateStandby of a second member", func() bool {
		return e.subscriptionHealth(other, group).State == brokers.StateStandby
	})
}

// Lag, where the driver knows it, counts what was not fetched.
func healthLag(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 5)...)
	p := e.accept(e.subscribe(e.broker, group, name))
	e.fetch(p, 5)
	e.publish(numbered(name, 0, "k", 5, 6)...)
	e.fetch(p, 1)
	e.eventually("lag is 0 or unknown", func() bool {
		s := e.subscriptionHealth(e.broker, group)
		return len(s.Partitions) == 1 && s.Partitions[0].Lag <= 0
	})
}

// A driver has a name, and what it can do does not change.
func identity(e *env) {
	if e.broker.Name() == "" {
		e.Error("Name is empty")
	}
	other := e.open()
	if got := other.Features(); got != e.features || e.broker.Features() != got || other.Name() != e.broker.Name() {
		e.Errorf("a second connection is %s with features %+v; the first %s, %+v", other.Name(), got, e.broker.Name(), e.features)
	}
}

// Health returns by its context's deadline.
func healthCancelled(e *env) {
	_ = e.returns("Health", func() error { return e.broker.Health(ended()).Err })
}

func healthDisconnected(e *env) {
	since := e.broker.Health(e.within()).Since
	reconnect := e.disconnect(e.broker)
	e.eventually("Health says disconnected, why, and since when", func() bool {
		h := e.broker.Health(e.quietly())
		return !h.Connected && h.Err != nil && h.Since.After(since)
	})
	e.ok(reconnect(), "reconnect")
	e.eventually("Health says connected", func() bool { return e.broker.Health(e.within()).Connected })
}

// disconnect cuts b off, for this test's time at most.
func (e *env) disconnect(b brokers.Broker) (reconnect func() error) {
	e.Helper()
	e.needs(e.h.Disconnect != nil, "the harness cannot disconnect")
	reconnect, err := e.h.Disconnect(b)
	e.ok(err, "Harness.Disconnect")
	return reconnect
}
