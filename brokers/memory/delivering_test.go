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

func TestHoldDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		p := k.accept(k.join(k.Broker, "m"))
		release := k.server.HoldDelivery()
		k.publish(0, 1)
		time.AfterFunc(time.Hour, release)
		began := time.Now()
		k.fetch(p, 0, 1)
		if took := time.Since(began); took != time.Hour {
			t.Errorf("delivered after %v, want 1h", took)
		}
	})
}

func TestDelayDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		p := k.accept(k.join(k.Broker, "m"))
		k.server.DelayDelivery(time.Second)
		time.AfterFunc(time.Minute, func() { k.publish(0, 1) })
		began := time.Now()
		k.fetch(p, 0, 1)
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("delivered after %v, want 1m1s", took)
		}
		// A context that ends meanwhile loses nothing.
		k.publish(1, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v; want the deadline's error", got, err)
		}
		k.server.DelayDelivery(0)
		began = time.Now()
		k.fetch(p, 1, 2)
		if took := time.Since(began); took != 0 {
			t.Errorf("delivered after %v, want at once", took)
		}
	})
}

func TestHoldAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		k.publish(0, 3)
		sub := k.join(k.Broker, "m")
		p := k.accept(sub)
		got := k.fetch(p, 0, 3)
		release := k.server.HoldAcks()
		k.ack(p, got[0].Offset)
		k.ack(p, got[1].Offset)
		k.position(0)
		release()
		k.position(2)

		// Close waits for them, as long as its context lets it.
		release = k.server.HoldAcks()
		k.ack(p, got[2].Offset)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want the deadline's error: an acknowledgement is lost", err)
		}
		release()
		k.position(2)
		p = k.accept(sub)
		got = k.fetch(p, 2, 3)
		release = k.server.HoldAcks()
		k.ack(p, got[0].Offset)
		time.AfterFunc(time.Minute, release)
		k.ok(p.Close(t.Context()))
		k.position(3)
	})
}

func TestDelayAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		k.publish(0, 3)
		p := k.accept(k.join(k.Broker, "m"))
		got := k.fetch(p, 0, 3)
		k.server.DelayAcks(time.Second)
		k.ack(p, got[0].Offset)
		<-time.After(600 * time.Millisecond)
		k.ack(p, got[1].Offset)
		k.position(0)
		<-time.After(600 * time.Millisecond)
		k.position(2)
		k.server.DelayAcks(0)
		k.ack(p, got[2].Offset)
		k.position(3)
	})
}

func TestVoidAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, delay := range []time.Duration{0, time.Second} {
			k := newKit(t, memory.Config{})
			k.publish(0, 2)
			sub := k.join(k.Broker, "m")
			p := k.accept(sub)
			got := k.fetch(p, 0, 2)
			k.server.VoidAcks(1)
			k.server.DelayAcks(delay)
			k.ack(p, got[0].Offset)
			<-p.Context().Done()
			if err := context.Cause(p.Context()); !errors.Is(err, brokers.ErrRevoked) {
				t.Errorf("cause %v, want ErrRevoked", err)
			}
			k.position(0)
			_ = p.Close(t.Context())
			k.server.DelayAcks(0)
			p = k.accept(sub)
			got = k.fetch(p, 0, 2)
			k.ack(p, got[1].Offset)
			k.position(2)
			k.ok(k.Close())
		}
	})
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		msgs := numbers(0, 3)
		msgs[0].TTL, msgs[2].TTL = time.Minute, time.Minute
		// The time of the event does not count, the time of storing does.
		msgs[0].Time = time.Now().Add(-time.Hour)
		_, err := k.pub.Publish(t.Context(), msgs...)
		k.ok(err)
		p := k.accept(k.join(k.Broker, "m"))
		k.fetch(p, 0, 1)
		<-time.After(time.Minute)
		got := k.fetch(p, 1, 2)
		if n := k.server.Lag("g", "t"); n != 3 {
			t.Errorf("lag %d, want 3", n)
		}
		// What has expired is passed when it is come upon.
		if _, err := p.Fetch(ended(), brokers.FetchLimit{Messages: 1}); err == nil {
			t.Error("an expired message was delivered")
		}
		k.ack(p, got[0].Offset)
		k.position(2)
		k.publish(3, 4)
		k.fetch(p, 3, 4)
		k.position(3)
	})
}

func TestCountedDeliveries(t *testing.T) {
	k := newKit(t, memory.Config{CountDeliveries: true})
	k.publish(0, 2)
	sub := k.join(k.Broker, "m")
	for want := 1; want < 4; want++ {
		p := k.accept(sub)
		if got := k.fetch(p, 0, 1); got[0].DeliveryCount != want {
			t.Errorf("delivery %d is counted as %d", want, got[0].DeliveryCount)
		}
		k.ok(p.Close(t.Context()))
	}
}
