package actortest_test

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
)

func TestProbes(t *testing.T) {
	check(t, desk, []expectation{
		{"answered", nil, func(k *actortest.Kit) {
			p := k.Probe("p")
			p.Request(k.PID("k"), "ping")
			if p.Expect("pong"); p.Sender() != nil {
				panic("an answer has no sender")
			}
		}, nil},
		{
			"answered otherwise", nil, func(k *actortest.Kit) {
				p := k.Probe("p")
				p.Request(k.PID("k"), "ping")
				p.Expect("peng")
			},
			[]string{`expected: string peng at probe "p"`, "got: letter        to p from nobody: string pong"},
		},
		{
			"another type", nil, func(k *actortest.Kit) {
				p := k.Probe("p")
				p.Request(k.PID("k"), "ping")
				actortest.ExpectType[int](p.Inbox)
			},
			[]string{"a matching int", "is a string"},
		},
		{
			"not answered", nil, func(k *actortest.Kit) {
				p := k.Probe("p")
				p.Request(k.PID("k"), "knock")
				p.Within(time.Minute).Expect("pong")
			},
			[]string{"nothing of the kind within 1m0s"},
		},
		{"replied and forwarded", nil, func(k *actortest.Kit) {
			p, q, r := k.Probe("p"), k.Probe("q"), k.Probe("r")
			p.Request(q.PID(), "hello")
			q.Expect("hello")
			q.Reply("welcome")
			if p.Expect("welcome"); !p.Sender().Equal(q.PID()) {
				panic("a reply comes from the probe that replies")
			}
			q.Forward(r.PID())
			if r.Expect("hello"); !r.Sender().Equal(p.PID()) {
				panic("a forwarded letter keeps its sender")
			}
		}, nil},
		{
			"replied to nobody", nil, func(k *actortest.Kit) {
				p, q := k.Probe("p"), k.Probe("q")
				p.Send(q.PID(), "hello")
				q.Expect("hello")
				q.Reply("welcome")
			},
			[]string{`Reply of probe "q": the last letter has no sender`},
		},
		{"ended", orders("spawn"), func(k *actortest.Kit) {
			child, p := k.ExpectSpawned("helper").Child, k.Probe("p")
			p.Watch(child)
			p.ExpectNone(time.Minute)
			k.ActorSystem().Root.Stop(child)
			p.ExpectTerminated(child)
			p.Watch(child) // once more, as it is no more
			p.ExpectTerminated(child)
		}, nil},
		{
			"not ended", orders("spawn"), func(k *actortest.Kit) {
				child, p := k.ExpectSpawned("helper").Child, k.Probe("p")
				p.Watch(child)
				p.ExpectTerminated(child)
			},
			[]string{"expected: the end of", `at probe "p"`, "nothing of the kind"},
		},
		{
			"another ended", orders("spawn"), func(k *actortest.Kit) {
				child, p := k.ExpectSpawned("helper").Child, k.Probe("p")
				p.Watch(k.ActorSystem().NewLocalPID("nobody"))
				p.ExpectTerminated(child)
			},
			[]string{"expected: the end of", "got: letter        to p from nobody: *actor.Terminated of nobody"},
		},
		{"undelivered", nil, func(k *actortest.Kit) {
			root := k.ActorSystem().Root
			root.Send(k.ActorSystem().NewLocalPID("nobody"), "first")
			root.Send(k.ActorSystem().NewLocalPID("nobody"), "second")
			k.ExpectUndelivered("second")
		}, nil},
		{
			"delivered", nil, func(k *actortest.Kit) {
				k.Probe("p").Send(k.PID("k"), "ping")
				k.ExpectUndelivered("ping")
			},
			[]string{"expected: string ping, which reaches nobody", "nothing of the kind"},
		},
		{
			"taken name", nil, func(k *actortest.Kit) {
				k.Probe("p")
				k.Probe("p")
			},
			[]string{`there is an actor "p" already`},
		},
	})
}

// What a key sends of its own accord arrives with the key as sender, which can be
// answered.
func TestKeyAsSender(t *testing.T) {
	got := failure(t, func(t actortest.TB) {
		var to *actor.PID
		kit := actortest.New(t, actors.Subscription{Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
			if ctx.Event() != nil {
				ctx.Send(to, "question")
				return nil
			}
			return ctx.Publish("out", []byte(ctx.Letter().(string)))
		}))})
		p := kit.Probe("p")
		to = p.PID()
		kit.Publish("k", []byte("go"))
		p.Expect("question")
		p.Reply("answer")
		kit.Key("k").ExpectPublished("out", []byte("answer"))
	})
	if got != "" {
		t.Fatal(got)
	}
}
