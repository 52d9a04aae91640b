package brokertest

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/brokers"
)

// compete joins a competing group.
func (e *env) compete(b brokers.Broker, group, topic string) brokers.Subscription {
	e.Helper()
	return e.subscribeAs(b, brokers.SubscriptionConfig{
		Group: group, Topics: []string{topic}, Mode: brokers.ModeCompeting, MaxUnsettled: 10,
	})
}

func competingUnsupported(e *env) {
	e.needs(!e.features.Competing, "Features.Competing is true")
	_, err := e.broker.Subscribe(e.within(), brokers.SubscriptionConfig{
		Group: e.group(), Topics: []string{e.topic(1)}, Mode: brokers.ModeCompeting,
	})
	e.is(err, brokers.ErrUnsupported, "Subscribe in ModeCompeting")
}

// Members of a competing group share the messages: all work at once, and each
// message goes to one of them.
func competingShares(e *env) {
	e.needs(e.features.Competing, "Features.Competing is false")
	group := e.group()
	name := e.competingTopic(group)
	a, b := e.compete(e.broker, group, name), e.compete(e.open(), group, name)
	seen := map[string]int{}
	e.publishCompeting(name, 0, 30)
	pa, pb := e.accept(a), e.accept(b)
	if n := a.Partitions(name); n != 1 {
		e.Errorf("Partitions of a competing subscription: %d; want 1", n)
	}
	for len(seen) < 30 {
		for _, p := range []brokers.Partition{pa, pb} {
			if p.ID() != 0 {
				e.Fatalf("competing partition has number %d; want 0", p.ID())
			}
			for _, m := range e.atHand(p) {
				seen[string(m.Payload)]++
				e.ack(p, brokers.NoOffset, m.Offset)
			}
		}
	}
	for payload, n := range seen {
		if n != 1 {
			e.Errorf("message %s was delivered %d times; want once", payload, n)
		}
	}
}

// competingTopic makes a topic for a competing group.
func (e *env) competingTopic(group string) string {
	e.Helper()
	name := e.h.Name("topic")
	cfg := brokers.TopicConfig{Name: name, Partitions: 3, Competing: []string{group}}
	ctx := e.within()
	e.ok(e.returns("EnsureTopic", func() error { return e.broker.EnsureTopic(ctx, cfg) }), "EnsureTopic")
	return name
}

// publishCompeting spreads numbered messages over the partitions.
func (e *env) publishCompeting(topic string, from, to int) {
	e.Helper()
	msgs := numbered(topic, 0, "c", from, to)
	for i := range msgs {
		msgs[i].Partition = int32(i % 3)
	}
	e.publish(msgs...)
}

// atHand returns what a partition has now, perhaps nothing.
func (e *env) atHand(p brokers.Partition) []brokers.Message {
	e.Helper()
	got, err := e.tryFetch(e.quietly(), p, brokers.FetchLimit{Messages: 5})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	e.ok(err, "Fetch")
	return got
}

// What a member had not acknowledged when it closed goes to another.
func competingGivesBack(e *env) {
	e.needs(e.features.Competing, "Features.Competing is false")
	group := e.group()
	name := e.competingTopic(group)
	e.publishCompeting(name, 0, 6)
	sub := e.compete(e.broker, group, name)
	p := e.accept(sub)
	got := e.fetch(p, 6)
	e.wantGrowing(got)
	e.ack(p, got[0].Offset, got[3].Offset)
	e.close(p)
	e.lateAck(p, got)
	e.leave(sub)

	other := e.accept(e.compete(e.open(), group, name))
	left := map[string]bool{}
	for _, m := range e.fetch(other, 4) {
		left[string(m.Payload)] = true
	}
	for i := range got {
		if settled := i == 0 || i == 3; settled == left[string(got[i].Payload)] {
			e.Errorf("message %s: acknowledged %v, delivered again %v", got[i].Payload, settled, !settled)
		}
	}
	e.fetchNothing(other)
}

// The second member of a competing group owns without the first one's leaving.
func competingExcludesNobody(e *env) {
	e.needs(e.features.Competing, "Features.Competing is false")
	group := e.group()
	name := e.competingTopic(group)
	a := e.compete(e.broker, group, name)
	e.publishCompeting(name, 0, 1)
	p := e.accept(a)
	e.fetch(p, 1)
	b := e.compete(e.open(), group, name)
	e.publishCompeting(name, 1, 40)
	q := e.accept(b)
	e.fetch(q, 1)
	if p.Context().Err() != nil || happened(p.Revoking()) {
		e.Error("the first member's partition was wanted back by the second one's coming")
	}
}
