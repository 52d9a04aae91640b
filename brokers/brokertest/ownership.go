package brokertest

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
)

// A sole member comes to own every partition, each once.
func acceptAllPartitions(e *env) {
	group := e.group()
	name := e.topic(5, group)
	for id := range int32(5) {
		e.publish(numbered(name, id, "k", 0, 1)...)
	}
	sub := e.subscribe(e.broker, group, name)
	for id, p := range e.acceptAll(sub, 5) {
		if p.Topic() != name || id < 0 || id >= 5 {
			e.Errorf("accepted partition %d of topic %q; want 0 to 4 of %q", id, p.Topic(), name)
		}
		if p.Context().Err() != nil || happened(p.Revoking()) {
			e.Errorf("partition %d is revoked from the start", id)
		}
	}
	e.acceptNothing(sub)
	if n := sub.Partitions(name); n != 5 {
		e.Errorf("Partitions: %d; want 5", n)
	}
}

// A subscription of several topics owns the partitions of all.
func acceptSeveralTopics(e *env) {
	group := e.group()
	a, b := e.topic(1, group), e.topic(2, group)
	e.publish(numbered(a, 0, "k", 0, 1)...)
	e.publish(numbered(b, 0, "k", 0, 1)...)
	e.publish(numbered(b, 1, "k", 0, 1)...)
	sub := e.subscribe(e.broker, group, a, b)
	seen := map[slot]bool{}
	for range 3 {
		p := e.accept(sub)
		seen[slot{p.Topic(), p.ID()}] = true
	}
	for _, want := range []slot{{a, 0}, {b, 0}, {b, 1}} {
		if !seen[want] {
			e.Errorf("partition %d of %q was not accepted", want.id, want.topic)
		}
	}
}

// Two memberships of one connection share the partitions as any two do.
func acceptTwoOfOneConnection(e *env) {
	group := e.group()
	name := e.topic(2, group)
	for id := range int32(2) {
		e.publish(numbered(name, id, "k", 0, 2)...)
	}
	first := e.subscribe(e.broker, group, name)
	owned := e.acceptAll(first, 2)
	second := e.subscribe(e.broker, group, name)
	p := e.firstRevoking(owned)
	e.close(p)
	next := e.accept(second)
	if next.ID() != p.ID() || next.Epoch() <= p.Epoch() {
		e.Fatalf("the second membership accepted partition %d, epoch %d; want %d, above %d", next.ID(), next.Epoch(), p.ID(), p.Epoch())
	}
	e.wantNumbers(e.fetch(next, 2), 0, 2)
}

func acceptCancelled(e *env) {
	group := e.group()
	name := e.topic(1, group)
	sub := e.subscribe(e.broker, group, name)
	_, err := e.tryAccept(ended(), sub)
	e.is(err, context.Canceled, "Accept with an ended context")
	ctx, cancel := context.WithCancel(context.Background())
	accepting := startAccept(ctx, sub)
	cancel()
	p, err := accepting.wait(e)
	if err == nil {
		// Some brokers show the ownership before a first message.
		e.close(p)
	} else {
		e.is(err, context.Canceled, "Accept whose context ends")
	}
	e.publish(numbered(name, 0, "k", 0, 1)...)
	e.wantNumbers(e.fetch(e.accept(sub), 1), 0, 1)
}

// Epochs of a partition are unique, and grow, over closing and leaving.
func epochsGrow(e *env) {
	p, sub, name, group := e.seeded(1)
	last := p.Epoch()
	for range 5 {
		p = e.again(p, sub)
		last = p.Epoch()
	}
	e.close(p)
	e.leave(sub)
	sub = e.subscribe(e.broker, group, name)
	if p = e.accept(sub); p.Epoch() <= last {
		e.Errorf("epoch %d of a new membership follows epoch %d of the same process", p.Epoch(), last)
	}
}

// No partition is offered again before its owner closed it, even when the
// epoch has ended: two epochs never overlap in a process.
func acceptAfterClose(e *env) {
	e.needs(e.h.Disconnect != nil, "the harness cannot disconnect")
	group := e.group()
	name := e.topic(2, group)
	for id := range int32(2) {
		e.publish(numbered(name, id, "k", 0, 1)...)
	}
	sub := e.subscribe(e.broker, group, name)
	owned := e.acceptAll(sub, 2)
	reconnect := e.disconnect(e.broker)
	e.revoked(owned[0])
	e.revoked(owned[1])
	e.ok(reconnect(), "reconnect")
	// The acknowledgements are void, so the result is the driver's to choose.
	_ = owned[0].Close(e.within())
	next := e.accept(sub)
	if next.ID() != 0 {
		e.Fatalf("partition %d was offered (epoch %d) before epoch %d of it was closed", next.ID(), next.Epoch(), owned[next.ID()].Epoch())
	}
	e.wantNumbers(e.fetch(next, 1), 0, 1)
	e.acceptNothing(sub)
	_ = owned[1].Close(e.within())
	if next = e.accept(sub); next.ID() != 1 || next.Epoch() <= owned[1].Epoch() {
		e.Fatalf("accepted partition %d, epoch %d; want partition 1 with an epoch above %d", next.ID(), next.Epoch(), owned[1].Epoch())
	}
	e.wantNumbers(e.fetch(next, 1), 0, 1)
}

// A lost connection ends the epochs; a mended one brings the partitions back,
// from the first message that is not acknowledged.
func reconnects(e *env) {
	p, sub, name, _ := e.seeded(5)
	got := e.fetch(p, 5)
	e.ack(p, got[1].Offset)
	e.close(p)
	p = e.accept(sub)
	e.wantNumbers(e.fetch(p, 3), 2, 5)
	reconnect := e.disconnect(e.broker)
	e.revoked(p)
	_, err := e.tryFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	e.is(err, brokers.ErrRevoked, "Fetch of an ended epoch")
	_ = p.Close(e.within())
	e.ok(reconnect(), "reconnect")
	p = e.accept(sub)
	e.wantNumbers(e.fetch(p, 3), 2, 5)
	e.publish(numbered(name, 0, "k", 5, 6)...)
	e.wantNumbers(e.fetch(p, 1), 5, 6)
}
