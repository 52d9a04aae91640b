package nats_test

import (
	"errors"
	"testing"

	"github.com/troupe-go/troupe/brokers"
)

// The heir of a crashed owner gets just what that one had not acknowledged, in
// order, then what is new, and deliveries are counted.
func TestCrashAboveAGap(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b, doomed := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	_, p := gapped(t, doomed, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	ls.line(doomed).cut()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	next := accept(t, heir)
	if p.Context().Err() == nil {
		t.Error("the heir owns the partition while the epoch of the crashed owner goes on")
	}
	publish(t, b, numbered(topic, 0, "k", 10, 12)...)
	got := fetch(t, next, len(unacknowledged)+2)
	wantUnacknowledged(t, got[:len(unacknowledged)])
	wantNumbers(t, got[len(unacknowledged):], 10, 12)
	for i := range got {
		if want := 2; i < len(unacknowledged) && got[i].DeliveryCount < want {
			t.Errorf("message %s has DeliveryCount %d; want at least %d", got[i].Payload, got[i].DeliveryCount, want)
		}
	}
}

// Where only a prefix is acknowledged, all above a gap comes again, in order;
// what is settled there frees the window nevertheless.
func TestCrashAboveAGapOfAPrefix(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = modes["Prefix"]
	b, doomed := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	publish(t, b, numbered(topic, 0, "k", 0, 40)...)
	s := subscribeAs(t, doomed, brokers.SubscriptionConfig{Group: group, Topics: []string{topic}, MaxUnsettled: 10})
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	got := fetch(t, p, 10)
	if err := p.Ack(brokers.Ack{UpTo: got[2].Offset}); err != nil {
		t.Fatal(err)
	}
	for n := 10; n < 30; n++ {
		got = append(got, fetch(t, p, 1)...)
		if err := p.Ack(brokers.Ack{UpTo: got[2].Offset, Above: []int64{got[n].Offset}}); err != nil {
			t.Fatal(err)
		}
	}
	wantNumbers(t, got, 0, 30)
	acked(t, ls, topic, group, 30-3+3) // three more are at hand, as the three settled ones made room
	ls.line(doomed).cut()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	wantNumbers(t, fetch(t, accept(t, heir), 37), 3, 40)
}

// An owner that gives its partition back in the middle of a backlog hands over
// all that it was sent: nothing of that has to be delivered twice to the next.
func TestHandOverUnderLoad(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	publish(t, b, numbered(topic, 0, "k", 0, 5000)...)
	s := subscribe(t, b, name("group"), topic)
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	settled := 0
	for owners := 1; owners <= 5; owners++ {
		got := fetch(t, p, 300)
		wantNumbers(t, got, settled, settled+300)
		for i := range got {
			if n := got[i].DeliveryCount; n > owners {
				t.Fatalf("message %s was delivered %d times to %d owners", got[i].Payload, n, owners)
			}
		}
		if err := p.Ack(brokers.Ack{UpTo: got[199].Offset}); err != nil {
			t.Fatal(err)
		}
		settled += 200
		if err := p.Close(within(t)); err != nil {
			t.Fatal(err)
		}
		p = accept(t, s)
	}
	wantNumbers(t, fetch(t, p, 100), settled, settled+100)
}

// An owner that is held up for longer than PinnedTTL is fenced before another
// member owns, and what it says later changes nothing.
func TestStalledOwnerIsFenced(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b, slow := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	_, p := gapped(t, slow, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	let := ls.line(slow).hold()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	next := accept(t, heir)
	if p.Context().Err() == nil {
		t.Error("the heir owns the partition while the epoch of the stalled owner goes on")
	}
	if err := p.Ack(brokers.Ack{UpTo: 1 << 40}); !errors.Is(err, brokers.ErrRevoked) {
		t.Errorf("Ack of a stalled owner: %v; want ErrRevoked", err)
	}
	let()
	wantUnacknowledged(t, fetch(t, next, len(unacknowledged)))
	if err := p.Ack(brokers.Ack{UpTo: 1 << 40}); !errors.Is(err, brokers.ErrRevoked) {
		t.Errorf("Ack of an epoch that is over: %v; want ErrRevoked", err)
	}
	acked(t, ls, topic, group, len(unacknowledged))
	_ = p.Close(within(t)) // acknowledgements of it are void
}
