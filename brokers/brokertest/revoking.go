package brokertest

import (
	"context"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// firstRevoking waits until one of the partitions is wanted back.
func (e *env) firstRevoking(owned map[int32]brokers.Partition) brokers.Partition {
	e.Helper()
	first := make(chan brokers.Partition, len(owned))
	for _, p := range owned {
		go func() {
			select {
			case <-p.Revoking():
			case <-p.Context().Done():
			}
			first <- p
		}()
	}
	select {
	case p := <-first:
		if !happened(p.Revoking()) {
			e.Fatalf("partition %d was taken away with no warning: %v", p.ID(), context.Cause(p.Context()))
		}
		return p
	case <-e.within().Done():
		e.Fatalf("no partition was wanted back within %v of a second member's coming", e.h.Wait)
		return nil
	}
}

// handOver is a partition that a second member's coming takes from its owner.
type handOver struct {
	p      brokers.Partition
	got    []brokers.Message    // what p's owner fetched: numbers 0 to 4
	second brokers.Subscription // who is to have p
	asked  time.Time            // when second began to join
}

// handOver has a second member join an owner of two partitions.
func (e *env) handOver(drain time.Duration) handOver {
	e.Helper()
	group := e.group()
	name := e.topic(2, group)
	for id := range int32(2) {
		e.publish(numbered(name, id, "k", 0, 5)...)
	}
	cfg := brokers.SubscriptionConfig{Group: group, Topics: []string{name}, DrainTimeout: drain}
	owned := e.acceptAll(e.subscribeAs(e.broker, cfg), 2)
	fetched := map[int32][]brokers.Message{}
	for id, p := range owned {
		fetched[id] = e.fetch(p, 5)
	}
	h := handOver{asked: time.Now()}
	h.second = e.subscribeAs(e.open(), cfg)
	h.p = e.firstRevoking(owned)
	h.got = fetched[h.p.ID()]
	return h
}

// A partition that is wanted back says so first: its owner fetches no more,
// acknowledges what runs, and closes it; only then has it another owner.
func revokingDrains(e *env) {
	h := e.handOver(e.h.Wait)
	if h.p.Context().Err() != nil {
		e.Fatal("the epoch ended together with Revoking; want time to drain")
	}
	_, err := e.tryFetch(e.within(), h.p, brokers.FetchLimit{Messages: 1})
	e.is(err, brokers.ErrRevoked, "Fetch after Revoking")
	e.acceptNothing(h.second)
	if h.p.Context().Err() != nil {
		e.Fatal("the epoch ended while its owner was draining")
	}
	e.ack(h.p, h.got[2].Offset)
	e.close(h.p)
	e.revoked(h.p)
	next := e.accept(h.second)
	if next.ID() != h.p.ID() {
		e.Fatalf("the second member accepted partition %d; want %d, the one that was given back", next.ID(), h.p.ID())
	}
	e.wantNumbers(e.fetch(next, 2), 3, 5)
}

// A Fetch that waits returns when the partition is wanted back.
func revokingWakesFetch(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 1)...)
	sub := e.subscribe(e.broker, group, name)
	p := e.accept(sub)
	e.fetch(p, 1)
	fetching := startFetch(e.within(), p, brokers.FetchLimit{Messages: 1})
	ctx := e.within()
	leaving := startErr("Subscription.Close", func() error { return sub.Close(ctx) })
	_, err := fetching.wait(e)
	e.is(err, brokers.ErrRevoked, "a waiting Fetch")
	e.close(p)
	_, err = leaving.wait(e)
	e.ok(err, "Subscription.Close")
}

// An owner that does not close its partition loses it after DrainTimeout, and
// no sooner; what it had not acknowledged goes to the next owner.
func drainTimeout(e *env) {
	drain := min(2*time.Second, e.h.Wait/3)
	h := e.handOver(drain)
	e.ack(h.p, h.got[0].Offset)
	e.revoked(h.p)
	if held := time.Since(h.asked); held < drain {
		e.Errorf("the epoch ended %v after the second member came; want at least DrainTimeout, %v", held, drain)
	}
	e.lateAck(h.p, h.got)
	again := e.fetch(e.accept(h.second), 4)
	if n := number(&again[0]); n > 1 {
		e.Errorf("the next owner begins at %d; want 1, or 0", n)
	}
}

// Not fetching from one partition keeps it, and holds back no other.
func pauseOne(e *env) {
	group := e.group()
	name := e.topic(3, group)
	for id := range int32(3) {
		e.publish(numbered(name, id, "k", 0, 1)...)
	}
	owned := e.acceptAll(e.subscribe(e.broker, group, name), 3)
	e.fetch(owned[1], 1)
	e.fetch(owned[2], 1)
	began := time.Now()
	n := 1
	for ; n < 20 || time.Since(began) < e.h.Lease; n++ {
		for id := range int32(3) {
			e.publish(numbered(name, id, "k", n, n+1)...)
		}
		for id := int32(1); id < 3; id++ {
			m := e.fetch(owned[id], 1)
			e.wantNumbers(m, n, n+1)
			e.ack(owned[id], m[0].Offset)
		}
	}
	e.kept(owned)
	e.wantNumbers(e.fetch(owned[0], n), 0, n)
}

// Not fetching at all keeps everything.
func pauseAll(e *env) {
	group := e.group()
	name := e.topic(2, group)
	for id := range int32(2) {
		e.publish(numbered(name, id, "k", 0, 3)...)
	}
	owned := e.acceptAll(e.subscribe(e.broker, group, name), 2)
	other := e.subscribe(e.open(), group, name)
	// The other member may be given one of two; the first keeps the other.
	released := e.firstRevoking(owned)
	e.close(released)
	delete(owned, released.ID())
	e.accept(other)
	select {
	case <-time.After(max(e.h.Lease, e.h.Quiet)):
	case <-only(owned).Context().Done():
	}
	e.kept(owned)
	e.wantNumbers(e.fetch(only(owned), 3), 0, 3)
}

// only returns the only partition of a map.
func only(owned map[int32]brokers.Partition) brokers.Partition {
	for _, p := range owned {
		return p
	}
	return nil
}

// kept ends the test unless all partitions are owned still.
func (e *env) kept(owned map[int32]brokers.Partition) {
	e.Helper()
	for id, p := range owned {
		if p.Context().Err() != nil || happened(p.Revoking()) {
			e.Fatalf("partition %d was taken away from an owner that paused: %v", id, context.Cause(p.Context()))
		}
	}
}
