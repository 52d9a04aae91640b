package brokertest

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// again closes a partition and returns the next epoch of it.
func (e *env) again(p brokers.Partition, sub brokers.Subscription) brokers.Partition {
	e.Helper()
	e.close(p)
	next := e.accept(sub)
	if next.Epoch() <= p.Epoch() {
		e.Fatalf("epoch %d follows epoch %d; want a greater one", next.Epoch(), p.Epoch())
	}
	return next
}

// The next epoch begins at the first message that is not acknowledged.
func ackPrefix(e *env) {
	p, sub, _, _ := e.seeded(10)
	got := e.fetch(p, 10)
	e.ack(p, got[3].Offset)
	p = e.again(p, sub)
	e.wantNumbers(e.fetch(p, 6), 4, 10)
	e.fetchNothing(p)
}

func ackNothing(e *env) {
	p, sub, _, _ := e.seeded(5)
	e.fetch(p, 5)
	e.ack(p, brokers.NoOffset)
	e.wantNumbers(e.fetch(e.again(p, sub), 5), 0, 5)
}

func ackAll(e *env) {
	p, sub, name, _ := e.seeded(5)
	got := e.fetch(p, 5)
	e.ack(p, got[4].Offset)
	e.close(p)
	e.publish(numbered(name, 0, "k", 5, 7)...)
	e.wantNumbers(e.fetch(e.accept(sub), 2), 5, 7)
}

// Acknowledgements outlive the membership.
func ackOverMemberships(e *env) {
	p, sub, name, group := e.seeded(6)
	got := e.fetch(p, 6)
	e.ack(p, got[1].Offset)
	e.close(p)
	e.leave(sub)
	next := e.accept(e.subscribe(e.open(), group, name))
	e.wantNumbers(e.fetch(next, 4), 2, 6)
}

// Close sends what was acknowledged, however long the driver may gather it.
func ackCloseSends(e *env) {
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 4)...)
	sub := e.subscribeAs(e.broker, brokers.SubscriptionConfig{Group: group, Topics: []string{name}, AckInterval: time.Hour})
	p := e.accept(sub)
	e.ack(p, e.fetch(p, 4)[1].Offset)
	e.wantNumbers(e.fetch(e.again(p, sub), 2), 2, 4)
}

// Without a Close, the driver sends it within AckInterval.
func ackWithinInterval(e *env) {
	e.needs(e.h.Kill != nil, "the harness cannot kill")
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 4)...)
	doomed := e.open()
	p := e.accept(e.subscribeAs(doomed, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, AckInterval: e.h.Quiet / 2,
	}))
	e.ack(p, e.fetch(p, 4)[1].Offset)
	<-e.quietly().Done()
	e.ok(e.h.Kill(doomed), "Harness.Kill")
	e.wantNumbers(e.fetch(e.accept(e.subscribe(e.broker, group, name)), 2), 2, 4)
}

// What was not fetched is not acknowledged, whatever was.
func ackFetchedOnly(e *env) {
	p, sub, _, _ := e.seeded(10)
	got := e.fetch(p, 4)
	e.ack(p, got[3].Offset)
	e.wantNumbers(e.fetch(e.again(p, sub), 6), 4, 10)
}

// UpTo never goes down: a lower one, or the same again, changes nothing.
func ackRepeats(e *env) {
	p, sub, _, _ := e.seeded(6)
	got := e.fetch(p, 6)
	e.ack(p, got[3].Offset)
	e.ack(p, got[3].Offset)
	e.ack(p, got[1].Offset)
	e.ack(p, brokers.NoOffset)
	e.wantNumbers(e.fetch(e.again(p, sub), 2), 4, 6)
}

// Messages settled above a gap are not delivered again, those in it are.
func ackAboveGap(e *env) {
	e.needs(e.features.IndividualAcks, "Features.IndividualAcks is false")
	p, sub, _, _ := e.seeded(8)
	got := e.fetch(p, 8)
	e.ack(p, got[1].Offset, got[6].Offset, got[3].Offset)
	p = e.again(p, sub)
	left := e.fetch(p, 4)
	for i, want := range []int{2, 4, 5, 7} {
		if number(&left[i]) != want {
			e.Fatalf("got %s; want numbers 2, 4, 5, 7", texts(left))
		}
	}
	e.fetchNothing(p)
	// Filling the gap passes all of it.
	e.ack(p, left[2].Offset)
	p = e.again(p, sub)
	e.wantNumbers(e.fetch(p, 1), 7, 8)
	e.fetchNothing(p)
}

// Where only a prefix can be acknowledged, the position does not pass the gap.
func ackGapHolds(e *env) {
	e.needs(!e.features.IndividualAcks, "Features.IndividualAcks is true")
	p, sub, _, _ := e.seeded(8)
	got := e.fetch(p, 8)
	e.ack(p, got[1].Offset, got[3].Offset, got[6].Offset, got[7].Offset)
	p = e.again(p, sub)
	// Messages above the gap may be spared, the ones in it may not.
	l := newLedger()
	due := map[int]bool{2: true, 4: true, 5: true}
	for len(due) > 0 {
		m := e.fetch(p, 1)[0]
		delete(due, number(&m))
		l.seen[string(m.Payload)]++
	}
	if l.seen["k/0"]+l.seen["k/1"] > 0 {
		e.Error("acknowledged messages 0 and 1 were delivered again")
	}
}

// An epoch that was closed cannot acknowledge.
func ackAfterClose(e *env) {
	p, sub, _, _ := e.seeded(5)
	got := e.fetch(p, 5)
	e.ack(p, got[0].Offset)
	e.close(p)
	e.lateAck(p, got)
	next := e.accept(sub)
	e.lateAck(p, got)
	e.wantNumbers(e.fetch(next, 4), 1, 5)
	e.lateAck(p, got)
	e.wantNumbers(e.fetch(e.again(next, sub), 4), 1, 5)
}

// lateAck has an ended epoch acknowledge all that it got, in each way.
func (e *env) lateAck(p brokers.Partition, got []brokers.Message) {
	e.Helper()
	last := got[len(got)-1].Offset
	e.is(p.Ack(brokers.Ack{UpTo: last}), brokers.ErrRevoked, "Ack of an ended epoch")
	e.is(p.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{last}}), brokers.ErrRevoked, "Ack of an ended epoch")
}

// Neither can one whose membership was closed over it.
func ackAfterLeaving(e *env) {
	p, sub, name, group := e.seeded(5)
	got := e.fetch(p, 5)
	e.ack(p, got[0].Offset)
	_ = e.returns("Subscription.Close", func() error { return sub.Close(ended()) })
	e.revoked(p)
	e.lateAck(p, got)
	next := e.fetch(e.accept(e.subscribe(e.open(), group, name)), 4)
	// The first acknowledgement may have been lost with the membership.
	if number(&next[0]) > 1 {
		e.Fatalf("got %s; want to begin at 1 or 0: nothing else was acknowledged in time", texts(next))
	}
}

// Neither can one that lost its connection, after another member took over.
func ackAfterDisconnect(e *env) {
	e.needs(e.h.Disconnect != nil, "the harness cannot disconnect")
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, 5)...)
	lost := e.open()
	p := e.accept(e.subscribe(lost, group, name))
	got := e.fetch(p, 5)
	reconnect := e.disconnect(lost)
	e.revoked(p)
	e.lateAck(p, got)

	sub := e.subscribe(e.broker, group, name)
	next := e.accept(sub)
	e.wantNumbers(e.fetch(next, 5), 0, 5)
	e.ok(reconnect(), "reconnect")
	e.lateAck(p, got)
	e.wantNumbers(e.fetch(e.again(next, sub), 5), 0, 5)
}

// Deliveries are counted where the broker counts them: from 1, and each that
// reached an owner. One that was lost on the way to a new owner counts, too.
func deliveryCount(e *env) {
	e.needs(e.features.DeliveryCount, "Features.DeliveryCount is false")
	p, sub, _, _ := e.seeded(3)
	last := make(map[string]int) // by payload
	for delivery := 1; delivery <= 3; delivery++ {
		for _, m := range e.fetch(p, 3) {
			if m.DeliveryCount <= last[string(m.Payload)] || delivery == 1 && m.DeliveryCount != 1 {
				e.Fatalf("delivery %d of message %s has DeliveryCount %d, after %d", delivery, m.Payload, m.DeliveryCount, last[string(m.Payload)])
			}
			last[string(m.Payload)] = m.DeliveryCount
		}
		p = e.again(p, sub)
	}
}

func deliveryNotCounted(e *env) {
	e.needs(!e.features.DeliveryCount, "Features.DeliveryCount is true")
	p, _, _, _ := e.seeded(1)
	if n := e.fetch(p, 1)[0].DeliveryCount; n != 0 {
		e.Errorf("DeliveryCount is %d; want 0 where deliveries are not counted", n)
	}
}

// Everything but Fetch may be called at any time from anywhere.
func ackConcurrently(e *env) {
	const n = 500
	p, sub, name, _ := e.seeded(1)
	e.publish(numbered(name, 0, "k", 1, n)...)
	upTo := atomic.Int64{}
	upTo.Store(brokers.NoOffset)
	acking := startErr("Ack", func() error {
		for range 300 {
			if err := p.Ack(brokers.Ack{UpTo: upTo.Load()}); err != nil {
				return err
			}
		}
		return nil
	})
	ctx := e.within()
	asking := startErr("Health", func() error {
		_, _, _ = p.Epoch(), sub.Partitions(name), p.Context().Err()
		return e.broker.Health(ctx).Err
	})
	var got []brokers.Message
	for len(got) < n {
		got = append(got, e.fetch(p, 1+rand.IntN(min(20, n-len(got))))...)
		upTo.Store(got[len(got)-1].Offset)
	}
	for _, c := range []*call[struct{}]{acking, asking} {
		_, err := c.wait(e)
		e.noErr(err, c.name)
	}
	e.wantNumbers(got, 0, n)
	e.ack(p, got[n-1].Offset)
	e.fetchNothing(e.emptied(p, sub, name, n))
}

// emptied returns the epoch after one that acknowledged everything, past one
// more message: not every broker shows ownership without a delivery.
func (e *env) emptied(p brokers.Partition, sub brokers.Subscription, topic string, n int) brokers.Partition {
	e.Helper()
	e.close(p)
	e.publish(numbered(topic, 0, "k", n, n+1)...)
	next := e.accept(sub)
	e.wantNumbers(e.fetch(next, 1), n, n+1)
	return next
}
