package actortest_test

import (
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
)

// expectation is one use of a probe, after messages of key k were published.
type expectation struct {
	name   string
	orders []any
	expect func(k *actortest.Kit)
	fails  []string // what the failure says; nil if it must pass
}

func orders(texts ...string) (all []any) {
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	return all
}

func check(t *testing.T, newKit func(actortest.TB) *actortest.Kit, cases []expectation) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := failure(t, func(t actortest.TB) {
				kit := newKit(t)
				kit.Publish("k", c.orders...)
				c.expect(kit)
			})
			if c.fails != nil {
				mustFail(t, got, c.fails...)
			} else if got != "" {
				t.Fatal(got)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	check(t, desk, []expectation{
		{"handled", orders("fine"), func(k *actortest.Kit) { k.ExpectHandled() }, nil},
		{
			"not handled", orders("bad"), func(k *actortest.Kit) { k.ExpectHandled() },
			[]string{"expected: a message handled", "got: nothing of the kind within 1h0m0s", `0s  retried       in/0@0 "k"`},
		},
		{"acknowledged", orders("fine", "fine"), func(k *actortest.Kit) {
			if k.ExpectAcked(); k.ExpectAcked().Offset != 1 {
				panic("the second one is at offset 1")
			}
		}, nil},
		{
			"not acknowledged", orders("slow"), func(k *actortest.Kit) { k.Within(time.Second).ExpectAcked() },
			[]string{"a message acknowledged", "within 1s"},
		},
		{"retried", orders("flaky"), func(k *actortest.Kit) { k.ExpectRetried(1, time.Second) }, nil},
		{
			"retried later", orders("flaky"), func(k *actortest.Kit) { k.ExpectRetried(1, 2*time.Second) },
			[]string{"expected: a retry: attempt 1 failed, next in 2s", "got: retried", "flaky; next in 1s", "> 0s  retried"},
		},
		{
			"retried once only", orders("flaky"), func(k *actortest.Kit) {
				k.ExpectRetried(1, time.Second)
				k.ExpectRetried(2, time.Second)
			},
			[]string{"attempt 2 failed", "nothing of the kind", "- 0s  retried"},
		},
		{"dead-lettered by reason", orders("bad"), func(k *actortest.Kit) { k.ExpectDeadLettered("2 attempts failed") }, nil},
		{"dead-lettered by error", orders("bad"), func(k *actortest.Kit) { k.ExpectDeadLettered("flaky") }, nil},
		{
			"dead-lettered otherwise", orders("bad"), func(k *actortest.Kit) { k.ExpectDeadLettered("too old") },
			[]string{`dead-lettered because of "too old"`, "got: dead-lettered", "2 attempts failed"},
		},
		{"discarded", orders("void"), func(k *actortest.Kit) { k.ExpectDiscarded("void") }, nil},
		{
			"discarded otherwise", orders("void"), func(k *actortest.Kit) { k.ExpectDiscarded("old") },
			[]string{`discarded because of "old"`, "got: discarded"},
		},
		{"stopped", orders("stop"), func(k *actortest.Kit) {
			if k.ExpectStopped().Place.Offset != 0 {
				panic("stopped by another message")
			}
		}, nil},
		{
			"not stopped", orders("fine"), func(k *actortest.Kit) { _ = k.ExpectStopped() },
			[]string{"the system stopped by a verdict", "nothing of the kind"},
		},
		{
			"stopped unexpectedly", orders("stop"), func(k *actortest.Kit) { k.Advance(time.Second) },
			[]string{"actortest: the system ended with: actors: stopped by", "must not go on"},
		},
		{
			"stopped before Stop", orders("stop"), func(k *actortest.Kit) { k.Stop() },
			[]string{"expected: a clean stop", "must not go on"},
		},
	})
	check(t, parking, []expectation{
		{"parked", orders("bad"), func(k *actortest.Kit) {
			k.ExpectParked()
			if k.ExpectParked().Attempt != 2 {
				panic("parked anew by the second attempt")
			}
		}, nil},
		{
			"not parked", orders("fine"), func(k *actortest.Kit) { k.ExpectParked() },
			[]string{"a key parked", "nothing of the kind"},
		},
	})
}

func TestCommitted(t *testing.T) {
	check(t, desk, []expectation{
		{"after all", orders("fine", "flaky", "fine"), func(k *actortest.Kit) { k.ExpectCommitted(2) }, nil},
		{"nothing yet", orders("slow", "fine"), func(k *actortest.Kit) { k.ExpectCommitted(brokers.NoOffset) }, nil},
		{
			"too little", orders("slow", "fine"), func(k *actortest.Kit) { k.Within(time.Second).ExpectCommitted(0) },
			[]string{"in/0 committed to offset 0", "got: offset -1"},
		},
		{"too much", orders("fine", "fine"), func(k *actortest.Kit) {
			k.ExpectAcked()
			k.ExpectAcked()
			k.ExpectCommitted(0)
		}, []string{"committed to offset 0", "got: offset 1"}},
		{
			"elsewhere", orders("fine"), func(k *actortest.Kit) { k.Partition("in", 7).ExpectCommitted(0) },
			[]string{"in/7 committed"},
		},
	})
}

func TestQuiet(t *testing.T) {
	check(t, desk, []expectation{
		{"between attempts", orders("flaky"), func(k *actortest.Kit) { k.ExpectQuiet(time.Second - 1) }, nil},
		{
			"until the next", orders("flaky"), func(k *actortest.Kit) { k.ExpectQuiet(time.Second) },
			[]string{"expected: nothing for 1s", "got: handled", "> 1s  handled"},
		},
		{"of another key", orders("flaky"), func(k *actortest.Kit) { k.Key("j").ExpectQuiet(time.Minute) }, nil},
		{
			"of that key", orders("flaky"), func(k *actortest.Kit) { k.Key("k").ExpectQuiet(time.Minute) },
			[]string{`nothing of key "k" for 1m0s`},
		},
	})
}

func TestScopes(t *testing.T) {
	check(t, desk, []expectation{
		{"a key", orders("fine"), func(k *actortest.Kit) {
			k.Publish("j", []byte("flaky"))
			k.Key("j").ExpectRetried(1, time.Second)
			if string(k.Key("j").ExpectAcked().Key) != "j" || string(k.Key("k").ExpectAcked().Key) != "k" {
				panic("of another key")
			}
		}, nil},
		{
			"another key", orders("fine"), func(k *actortest.Kit) { k.Key("j").ExpectHandled() },
			[]string{`a message handled of key "j"`},
		},
		{"a partition", orders("fine"), func(k *actortest.Kit) { k.Partition("in", 0).ExpectHandled() }, nil},
		{
			"another partition", orders("fine"), func(k *actortest.Kit) { k.Partition("in", 1).ExpectHandled() },
			[]string{"a message handled in in/1"},
		},
		{"an event", orders(), func(k *actortest.Kit) {
			if actortest.ExpectEvent[actors.PartitionAssigned](k.Scope).Topic != "in" {
				panic("of another topic")
			}
		}, nil},
		{
			"another event", orders("fine"), func(k *actortest.Kit) { actortest.ExpectEvent[actors.PartitionLost](k.Scope) },
			[]string{"an event actors.PartitionLost"},
		},
		{"a child", orders("spawn"), func(k *actortest.Kit) { k.Key("k").ExpectSpawned("helper") }, nil},
		{
			"another child", orders("spawn"), func(k *actortest.Kit) { k.ExpectSpawned("nurse") },
			[]string{`a child "nurse" spawned`, "got: spawned", "helper"},
		},
	})
}

func TestLogs(t *testing.T) {
	check(t, desk, []expectation{
		{"logged", orders("warn"), func(k *actortest.Kit) {
			if k.ExpectLogged("out of paper").Level != zapcore.WarnLevel {
				panic("at another level")
			}
			k.ExpectNotLogged(zapcore.WarnLevel)
		}, nil},
		{
			"not logged", orders("fine"), func(k *actortest.Kit) { k.ExpectLogged("paper") },
			[]string{`a log line with "paper"`, "nothing of the kind"},
		},
		{
			"logged against expectation", orders("warn"), func(k *actortest.Kit) {
				k.ExpectAcked()
				k.ExpectNotLogged(zapcore.WarnLevel)
			},
			[]string{"no log line of level warn or above", "got: logged        warn: running out of paper"},
		},
		{"below the level", orders("warn"), func(k *actortest.Kit) {
			k.ExpectAcked()
			k.ExpectNotLogged(zapcore.ErrorLevel)
		}, nil},
	})
}

// Concurrent handling of one key, which only Unordered allows, breaks its order.
func TestKeyOrder(t *testing.T) {
	unordered := func(t actortest.TB) *actortest.Kit {
		return actortest.New(t, actors.Subscription{Actor: actors.Shared(clerk{}), Unordered: true})
	}
	inOrder := func(k *actortest.Kit) {
		k.Advance(time.Hour)
		k.ExpectKeyOrder()
	}
	check(t, desk, []expectation{{"kept", orders("slow", "flaky", "bad", "void", "fine"), inOrder, nil}})
	check(t, unordered, []expectation{{
		"broken", orders("slow", "fine"), inOrder,
		[]string{`messages of key "k" in order, and this one is behind offset 1`, `> 1m0s  handled       in/0@0 "k"`},
	}})
}
