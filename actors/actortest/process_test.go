package actortest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

type tally struct{ n int }

func (c *tally) Receive(ctx *actors.Context) error {
	if ctx.Event() == nil {
		ctx.Respond(c.n)
		return nil
	}
	c.n++
	return nil
}

func tallies(t actortest.TB) *actortest.Kit {
	return actortest.New(t, actors.Subscription{Actor: actors.PerKey(func(string) *tally { return &tally{} })})
}

// A crash loses acknowledgements that are on their way, and the state of keys.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := tallies(t)
		kit.Publish("k", []byte("1"))
		kit.ExpectCommitted(0)
		release := kit.Server().HoldAcks()
		kit.Publish("k", []byte("2"), []byte("3"))
		before := kit.PID("k")
		kit.ExpectQuiet(time.Minute)
		kit.Crash()
		release()
		for offset := range int64(2) {
			if m := kit.ExpectRedelivered(); m.Offset != offset+1 {
				t.Fatalf("redelivered offset %d", m.Offset)
			}
		}
		actortest.ExpectEvent[actors.PartitionLost](kit.Scope)
		kit.ExpectCommitted(2)
		kit.ExpectKeyOrder()

		p := kit.Probe("p")
		p.Request(kit.PID("k"), "how many?")
		p.Expect(2)
		p.Request(before, "how many?") // a PID names the key, not the process
		p.Expect(2)
		if r := kit.Stop(); r.Handled != 2 {
			t.Fatalf("report of the second process: %v", r)
		}
	})
}

// A handler that does not mind its context cannot acknowledge after the crash.
func TestCrashLeavesStubbornHandlersBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		first := true
		kit := actortest.New(t, actors.Subscription{Actor: actors.Func(func(context.Context, brokers.Message) error {
			if first {
				first = false
				<-gate
			}
			return nil
		})})
		kit.Publish("k", []byte("1"))
		kit.Crash()
		kit.ExpectRedelivered()
		kit.ExpectHandled()
		kit.ExpectAcked()
		close(gate)
		kit.ExpectHandled() // by the one left behind
		kit.ExpectQuiet(time.Hour)
		kit.ExpectCommitted(0)
	})
}

func TestNothingRedelivered(t *testing.T) {
	mustFail(t, failure(t, func(t actortest.TB) {
		kit := tallies(t)
		kit.Publish("k", []byte("1"))
		kit.ExpectCommitted(0)
		kit.Crash()
		kit.ExpectRedelivered()
	}), "expected: a message redelivered", "nothing of the kind", "0s  crashed")
}

func TestRebalanceAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := tallies(t)
		actortest.ExpectEvent[actors.PartitionAssigned](kit.Scope)
		back := kit.RebalanceAway()
		actortest.ExpectEvent[actors.PartitionRevoked](kit.Scope)
		kit.Publish("k", []byte("1"))
		kit.ExpectQuiet(time.Hour)
		back()
		actortest.ExpectEvent[actors.PartitionAssigned](kit.Scope)
		kit.ExpectCommitted(0)
		back() // no harm
	})
}

// Without back, the other member leaves with the test.
func TestRebalanceAway(t *testing.T) {
	got := failure(t, func(t actortest.TB) {
		kit := tallies(t)
		kit.RebalanceAway()
		kit.Publish("k", []byte("1"))
		kit.ExpectHandled()
	})
	mustFail(t, got, "a message handled", "0s  revoked       in/0, epoch 1; 0 given back")
}

func TestLosePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := desk(t)
		kit.Publish("k", []byte("flaky"))
		kit.ExpectRetried(1, time.Second)
		kit.LosePartitions()
		if lost := actortest.ExpectEvent[actors.PartitionLost](kit.Scope); lost.GivenBack != 1 {
			t.Fatalf("lost: %+v", lost)
		}
		kit.ExpectRedelivered()
		kit.ExpectRetried(1, time.Second)
		kit.ExpectCommitted(0)
	})
}

// Two kits on one broker are two processes: of one group they share partitions,
// and what one loses the other gets. They share the story.
func TestTwoKitsOnABroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := actortest.New(t, actors.Subscription{Group: "one", Actor: actors.Shared(clerk{}), Broker: memory.New(memory.Config{Partitions: 1})})
		two := actortest.New(t, actors.Subscription{Group: "two", Topics: []string{"out"}, Actor: actors.Shared(clerk{}), Broker: one.Broker()})
		one.Publish("k", []byte("total"))
		if h := one.ExpectHandled(); h.Group != "one" {
			t.Fatalf("handled by %s", h.Group)
		}
		if h := two.ExpectHandled(); h.Group != "two" || h.Topic != "out" {
			t.Fatalf("handled by %s", h.Group)
		}
		for _, line := range []string{`handled       in/0@0 "k" (group one)`, `handled       out/0@0 "k" (group two)`} {
			if !strings.Contains(one.Story(), line) || one.Story() != two.Story() {
				t.Fatalf("no line %q in\n%s", line, one.Story())
			}
		}
	})
}

func TestSecondMemberTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := tallies(t)
		two := actortest.New(t, actors.Subscription{Actor: actors.Shared(clerk{}), Broker: one.Broker()})
		one.Stop()
		one.Publish("k", []byte("1"))
		two.ExpectHandled()
	})
}
