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

func (k *kit) gone(p brokers.Partition) {
	k.Helper()
	select {
	case <-p.Context().Done():
	default:
		k.Fatalf("epoch %d of partition %d goes on", p.Epoch(), p.ID())
	}
	if err := context.Cause(p.Context()); !errors.Is(err, brokers.ErrRevoked) {
		k.Fatalf("cause %v, want ErrRevoked", err)
	}
}

func (k *kit) kept(p brokers.Partition) {
	k.Helper()
	select {
	case <-p.Revoking():
		k.Fatalf("partition %d is wanted back", p.ID())
	case <-p.Context().Done():
		k.Fatalf("partition %d is lost", p.ID())
	default:
	}
}

// offersNothing wants Accept to wait.
func (k *kit) offersNothing(sub brokers.Subscription) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), time.Second)
	defer cancel()
	if p, err := sub.Accept(ctx); err == nil {
		k.Fatalf("partition %d is offered", p.ID())
	}
}

// A second member takes half; what stays keeps its epoch.
func TestRebalanceIsCooperative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{Partitions: 4})
		first := k.join(k.Broker, "first")
		var owned []brokers.Partition
		for range 4 {
			owned = append(owned, k.accept(first))
		}
		second := k.join(k.server.Connect(), "second")
		var wanted []brokers.Partition
		for _, p := range owned {
			select {
			case <-p.Revoking():
				wanted = append(wanted, p)
			default:
				k.kept(p)
			}
		}
		if len(wanted) != 2 {
			t.Fatalf("%d of 4 partitions are wanted back, want 2", len(wanted))
		}
		k.offersNothing(second)
		k.ok(wanted[0].Close(t.Context()))
		if p := k.accept(second); p.ID() != wanted[0].ID() {
			t.Errorf("partition %d went over, want %d", p.ID(), wanted[0].ID())
		}
		// The other is not closed in time.
		<-time.After(25 * time.Second)
		synctest.Wait()
		k.gone(wanted[1])
		if p := k.accept(second); p.ID() != wanted[1].ID() {
			t.Errorf("partition %d went over, want %d", p.ID(), wanted[1].ID())
		}
	})
}

func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		k.publish(0, 1)
		first, second := k.join(k.Broker, "first"), k.join(k.Broker, "second")
		p := k.accept(first)
		k.ok(k.server.Kill("g", "first"))
		k.gone(p)
		k.kept0(p)
		// Both are of one process, so the heir waits for the user of the dead.
		k.offersNothing(second)
		k.ok(p.Close(t.Context()))
		k.fetch(k.accept(second), 0, 1)
		k.offersNothing(first)
		if err := k.server.Kill("g", "first"); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("killing the dead: %v, want ErrInvalid", err)
		}
		h := k.Health(t.Context())
		if s := h.Subscriptions[0]; s.State != brokers.StateConnecting || s.Err == nil {
			t.Errorf("health of the dead: %v, %v", s.State, s.Err)
		}
		k.Disconnect()
		k.Reconnect()
		if n := len(k.server.Members("g")); n != 1 {
			t.Errorf("%d members after a reconnect, want 1: the dead stay dead", n)
		}
	})
}

// kept0 wants an epoch to have ended with no warning.
func (k *kit) kept0(p brokers.Partition) {
	k.Helper()
	select {
	case <-p.Revoking():
		k.Fatal("Revoking was closed: that is a warning")
	default:
	}
}

func TestExpel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		k.publish(0, 2)
		sub := k.join(k.Broker, "m")
		p := k.accept(sub)
		got := k.fetch(p, 0, 2)
		k.ack(p, got[0].Offset)
		k.ok(k.server.Expel("g", "m"))
		k.gone(p)
		k.offersNothing(sub)
		k.ok(p.Close(t.Context()))
		k.fetch(k.accept(sub), 1, 2)
		if err := k.server.Expel("other", "m"); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("expelling from a group that is not: %v, want ErrInvalid", err)
		}
	})
}

func TestForcedRebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{Partitions: 2})
		first, second := k.join(k.Broker, "first"), k.join(k.server.Connect(), "second")
		a, b := k.accept(first), k.accept(second)
		k.server.Rebalance("g")
		k.server.Rebalance("nobody")
		<-a.Revoking()
		<-b.Revoking()
		k.ok(a.Close(t.Context()))
		k.ok(b.Close(t.Context()))
		if p, q := k.accept(first), k.accept(second); p.ID() != b.ID() || q.ID() != a.ID() {
			t.Errorf("partitions %d and %d, want them exchanged", p.ID(), q.ID())
		}
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		other := k.server.Connect()
		k.publish(0, 2)
		sub := k.join(k.Broker, "first")
		p := k.accept(sub)
		k.Disconnect()
		k.gone(p)
		heir := k.accept(k.join(other, "second"))
		k.fetch(heir, 0, 2)
		k.Reconnect()
		k.Reconnect()
		k.offersNothing(sub)
		k.ok(p.Close(t.Context()))
		k.offersNothing(sub)
		k.ok(other.Close())
		k.gone(heir)
		k.fetch(k.accept(sub), 0, 2)
		// A closed connection stays closed.
		other.Reconnect()
		if h := other.Health(t.Context()); h.Connected || !errors.Is(h.Err, brokers.ErrClosed) {
			t.Errorf("health of a closed connection: %+v", h)
		}
	})
}

func TestSubscribeWhileDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		k.Disconnect()
		sub := k.join(k.Broker, "m")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.EnsureTopic(ctx, brokers.TopicConfig{Name: "u"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("EnsureTopic: %v, want the deadline's error", err)
		}
		if h := k.Health(t.Context()); h.Connected || h.Subscriptions[0].State != brokers.StateConnecting {
			t.Errorf("health %+v, want disconnected and connecting", h)
		}
		time.AfterFunc(time.Minute, k.Reconnect)
		k.ok(k.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "u"}))
		k.accept(sub)
	})
}

func TestGroupHasOneMode(t *testing.T) {
	k := newKit(t, memory.Config{})
	k.join(k.Broker, "m")
	_, err := k.Subscribe(t.Context(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, Mode: brokers.ModeCompeting})
	if !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("a competing member of an ordered group: %v, want ErrInvalid", err)
	}
}

func TestMembers(t *testing.T) {
	k := newKit(t, memory.Config{Partitions: 3})
	if m := k.server.Members("g"); m != nil {
		t.Errorf("members %v before any came", m)
	}
	sub := k.join(k.Broker, "m")
	k.accept(sub)
	m := k.server.Members("g")
	if len(m) != 1 || m[0].Name != "m" || len(m[0].Partitions["t"]) != 3 {
		t.Errorf("members %v, want m with three partitions", m)
	}
	if err := sub.Close(ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("Close that could not wait: %v, want the context's error", err)
	}
	if m := k.server.Members("g"); len(m) != 0 {
		t.Errorf("members %v after the only one left", m)
	}
}

func TestProgress(t *testing.T) {
	k := newKit(t, memory.Config{})
	if _, err := k.server.Progress("g", "t", 0); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("progress of a group that is not: %v, want ErrInvalid", err)
	}
	k.publish(0, 5)
	if n := k.server.Lag("g", "t"); n != 5 {
		t.Errorf("lag of a group that is not: %d, want 5", n)
	}
	p := k.accept(k.join(k.Broker, "m"))
	got := k.fetch(p, 0, 5)
	k.ok(p.Ack(brokers.Ack{UpTo: got[0].Offset, Above: []int64{got[2].Offset, got[3].Offset}}))
	s, err := k.server.Progress("g", "t", 0)
	k.ok(err)
	if s.Position != 1 || len(s.Settled) != 2 || s.Settled[0] != 2 || s.End != 5 || s.Lag() != 2 || k.server.Lag("g", "t") != 2 {
		t.Errorf("progress %+v, want position 1, settled 2 and 3, lag 2", s)
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		p := k.accept(k.join(k.Broker, "m"))
		time.AfterFunc(time.Minute, func() {
			k.publish(0, 2)
			k.ack(p, k.fetch(p, 0, 2)[1].Offset)
		})
		k.ok(k.server.Await(t.Context(), func() bool { return len(k.server.Messages("t")) == 2 }))
		k.ok(k.server.Await(t.Context(), func() bool { return k.server.Lag("g", "t") == 0 }))
		if err := k.server.Await(ended(), func() bool { return false }); !errors.Is(err, context.Canceled) {
			t.Errorf("Await: %v, want the context's error", err)
		}
	})
}

// An idle broker has no goroutine, so that virtual time passes.
func TestIdleBrokerIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, memory.Config{})
		p := k.accept(k.join(k.Broker, "m"))
		k.publish(0, 1)
		k.fetch(p, 0, 1)
		began := time.Now()
		<-time.After(1000 * time.Hour)
		if time.Since(began) != 1000*time.Hour {
			t.Error("virtual time did not pass")
		}
	})
}
