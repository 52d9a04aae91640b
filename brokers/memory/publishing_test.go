package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

var errDisk = errors.New("disk full")

func TestFailPublishes(t *testing.T) {
	k := newKit(t, memory.Config{})
	k.server.FailPublishes(2, errDisk)
	_, err := k.pub.Publish(t.Context(), numbers(0, 3)...)
	var failed *brokers.PublishError
	if !errors.As(err, &failed) || len(failed.Failures) != 2 || !errors.Is(err, errDisk) {
		t.Fatalf("error %v, want two failures of %v", err, errDisk)
	}
	if failed.Failures[0].Retryable() {
		t.Error("a plain error of the test is not final")
	}
	k.want(k.server.Messages("t"), 2, 3)
	k.publish(3, 4)
	k.want(k.server.Messages("t"), 2, 4)
}

func TestOnPublishChooses(t *testing.T) {
	k := newKit(t, memory.Config{Unsequenced: true})
	attempts := 0
	k.server.OnPublish(func(m brokers.Message) error {
		if string(m.Payload) != "1" {
			return nil
		}
		if attempts++; attempts < 3 {
			return &brokers.SendError{Outcome: brokers.NotSent, Err: errDisk}
		}
		return nil
	})
	// What may be retried is, by the Publisher, and in order.
	k.publish(0, 3)
	k.want(k.server.Messages("t"), 0, 3)
	if attempts != 3 {
		t.Errorf("message 1 was sent %d times, want 3", attempts)
	}
	k.server.OnPublish(func(brokers.Message) error { return errDisk })
	k.server.OnPublish(nil)
	k.publish(3, 4)
}

func TestLoseConfirms(t *testing.T) {
	k := newKit(t, memory.Config{Unsequenced: true, DedupWindow: time.Minute})
	k.server.LoseConfirms(1)
	msgs := numbers(0, 2)
	msgs[0].ID, msgs[1].ID = "a", "b"
	receipts, err := k.pub.Publish(t.Context(), msgs...)
	k.ok(err)
	if !receipts[0].Duplicate {
		t.Error("the message whose confirmation was lost was not sent again")
	}
	k.want(k.server.Messages("t"), 0, 2)
}

func TestLoseConfirmsSequenced(t *testing.T) {
	k := newKit(t, memory.Config{})
	k.server.LoseConfirms(1)
	_, err := k.pub.Publish(t.Context(), numbers(0, 1)...)
	var failed *brokers.PublishError
	if !errors.As(err, &failed) || failed.Failures[0].Outcome != brokers.Unknown {
		t.Fatalf("error %v, want an unknown outcome", err)
	}
	k.want(k.server.Messages("t"), 0, 1)
}

func TestHoldPublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		defer func() { k.ok(k.pub.Close(ended())) }()
		release := k.server.HoldPublishes()
		again := k.server.HoldPublishes()
		stored := make(chan error, 1)
		k.ok(k.pub.PublishAsync(t.Context(), numbers(0, 1)[0], func(_ brokers.Receipt, err error) { stored <- err }))
		synctest.Wait()
		k.want(k.server.Messages("t"), 0, 0)
		release()
		release()
		synctest.Wait()
		k.want(k.server.Messages("t"), 0, 0)
		again()
		k.ok(<-stored)
		k.want(k.server.Messages("t"), 0, 1)
	})
}

func TestHeldPublishGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		defer k.server.HoldPublishes()()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.pub.Publish(ctx, numbers(0, 2)...)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline's", err)
		}
		k.want(k.server.Messages("t"), 0, 0)
	})
}

func TestPublisherWaitsForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, unsequenced := range []bool{false, true} {
			k := newKit(t, memory.Config{Unsequenced: unsequenced})
			k.Disconnect()
			k.Disconnect()
			time.AfterFunc(time.Minute, k.Reconnect)
			k.publish(0, 3)
			k.want(k.server.Messages("t"), 0, 3)
			k.ok(k.Close())
		}
	})
}

func TestDedupWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{DedupWindow: time.Minute})
		defer func() { k.ok(k.pub.Close(t.Context())) }()
		m := numbers(0, 1)[0]
		m.ID = "a"
		for _, want := range []int{1, 1, 2} {
			_, err := k.pub.Publish(t.Context(), m)
			k.ok(err)
			if n := len(k.server.Messages("t")); n != want {
				t.Errorf("%d messages, want %d", n, want)
			}
			<-time.After(31 * time.Second)
		}
		// No ID is not the same ID.
		k.publish(0, 2)
		if n := len(k.server.Messages("t")); n != 4 {
			t.Errorf("%d messages, want 4: two of them without an ID", n)
		}
	})
}

func TestMaxRetained(t *testing.T) {
	k := newKit(t, memory.Config{MaxRetained: 3})
	p := k.accept(k.join(k.Broker, "m"))
	k.publish(0, 2)
	k.fetch(p, 0, 2)
	k.publish(2, 1000)
	k.want(k.server.Messages("t"), 997, 1000)
	got := k.fetch(p, 997, 1000)
	k.position(997)
	k.ack(p, got[2].Offset)
	k.position(1000)
}

func TestDropSettled(t *testing.T) {
	k := newKit(t, memory.Config{DropSettled: true})
	k.ok(k.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "t", Groups: []string{"later"}}))
	k.publish(0, 5)
	p := k.accept(k.join(k.Broker, "m"))
	got := k.fetch(p, 0, 5)
	k.ack(p, got[4].Offset)
	k.want(k.server.Messages("t"), 0, 5)
	later, err := k.Subscribe(t.Context(), brokers.SubscriptionConfig{Group: "later", Topics: []string{"t"}})
	k.ok(err)
	q := k.accept(later)
	k.ack(q, k.fetch(q, 0, 3)[2].Offset)
	k.want(k.server.Messages("t"), 3, 5)
}
