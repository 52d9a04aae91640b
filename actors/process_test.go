package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// quietSystem is an actor system of the user's own.
func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

// deadLetters collects what the actor system could not deliver.
func (w *world) deadLetters() func() []string {
	var mu sync.Mutex
	var dead []string
	w.sys.ActorSystem().EventStream.Subscribe(func(e any) {
		d, ok := e.(*actor.DeadLetterEvent)
		if !ok {
			return
		}
		if _, again := d.Message.(*actor.Stop); again {
			return // a child may be told to end by its key and by its parent
		}
		mu.Lock()
		defer mu.Unlock()
		dead = append(dead, fmt.Sprintf("%v to %s", d.Message, d.PID.Id))
	})
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return dead
	}
}

// ask asks a key and returns the answer's text, or the error's.
func (w *world) ask(pid *actor.PID, request any) string {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	answer, err := actors.Ask[string](ctx, w.sys.ActorSystem(), pid, request)
	if err != nil {
		return "error: " + err.Error()
	}
	return answer
}

func TestAsk(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 3}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			switch ctx.Letter() {
			case "fail":
				ctx.Respond("an answer that is dropped")
				return errFlaky
			case "number":
				ctx.Respond(1)
			case "silence":
			default:
				ctx.Respond(fmt.Sprintf("%v, says %q", ctx.Letter(), ctx.Key()))
			}
			return nil
		}})})
		tests := []struct {
			group, topic, key string
			request           any
			want              string
		}{
			{"g0", "in", "k", "hello", `hello, says "k"`}, // there is no such actor yet
			{"g0", "in", "", "hello", `hello, says ""`},
			{"g0", "in", "~k", "hello", `hello, says "~k"`},
			{"g0", "in", "\xff\x00", "hello", `hello, says "\xff\x00"`},
			{"g0", "in", "k", "fail", "error: flaky"},
			{"g0", "in", "k", "number", "error: actors: answer to string is a int"},
			{"g0", "in", "k", "silence", "error: context deadline exceeded"},
			{"g0", "other", "k", "hello", "error: actors: key not owned here: nobody is at keys:g0/other/k"},
		}
		for _, tt := range tests {
			got := w.ask(w.sys.PID(tt.group, tt.topic, []byte(tt.key)), tt.request)
			if got != tt.want {
				t.Errorf("%q to %q of %s: %s; want %s", tt.request, tt.key, tt.topic, got, tt.want)
			}
		}
	})
}

// An answer of any type does not take a failure for one.
func TestAskForAnythingReportsFailures(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(*instance, *actors.Context) error { return errFlaky }})})
		pid := w.sys.PID("g0", "in", []byte("k"))
		answer, err := actors.Ask[any](w.t.Context(), w.sys.ActorSystem(), pid, "hello")
		if !errors.Is(err, errFlaky) {
			t.Fatalf("answer %v, error %v", answer, err)
		}
		var request *actors.RequestError
		if !errors.As(err, &request) {
			t.Fatalf("error %T", err)
		}
	})
}

// Ordinary actors talk to keys by protoactor's own means.
func TestActorsTalkToKeys(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		sys := quietSystem()
		w.startWith(actors.Config{ActorSystem: sys}, actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if ctx.Event() == nil {
				ctx.Respond(fmt.Sprintf("%v to you", ctx.Letter()))
			}
			return nil
		}})})
		answers := make(chan any, 1)
		asker := sys.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(w.sys.PID("g0", "in", []byte("k")), "hello")
			case string:
				answers <- m
				ctx.Stop(ctx.Self())
			}
		}))
		if got := <-answers; got != "hello to you" {
			t.Fatalf("%v answered %v", got, asker)
		}
	})
}

// Keys talk to each other by PID: the sender may be answered, and is told when
// its letter fails.
func TestKeysTalkToKeys(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 3}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			switch m := ctx.Letter().(type) {
			case nil:
				ctx.Send(w.sys.PID("g0", "in", []byte("other")), string(ctx.Event().Payload))
			case string:
				if m == "bad" {
					return errFlaky
				}
				ctx.Respond([]byte(m))
			}
			return nil
		}})})
		w.publish("k", "good", "bad")
		synctest.Wait()
		log := w.forget()
		slices.Sort(log)
		want := []string{
			"k#1 bad", "k#1 good", "k#1 letter [103 111 111 100]", "k#1 letter flaky", "k#1 starts",
			"other#1 letter bad: flaky", "other#1 letter good", "other#1 starts",
		}
		if !slices.Equal(log, want) {
			t.Fatalf("log %q", log)
		}
	})
}

// What a key sends and answers is staged.
func TestLettersOfAFailedAttemptAreDropped(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Policy: constant(3, time.Second), Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if ctx.Event() == nil {
				return nil
			}
			ctx.Send(w.sys.PID("g0", "in", []byte("other")), fmt.Sprint("attempt ", ctx.Attempt()))
			return failing("1", 1)(ctx)
		}})})
		w.publish("k", "1")
		w.pass(time.Minute)
		w.expect("k#1 starts", "k#1 1: flaky", "k#1 1", "other#1 starts", "other#1 letter attempt 2")
	})
}

// A letter waits behind the running message, and behind a key that backs off.
func TestLettersWaitTheirTurn(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Policy: constant(3, 10*time.Second), Actor: w.instances(instance{clock: true, receive: func(_ *instance, ctx *actors.Context) error {
			if ctx.Event() == nil {
				ctx.Respond("done")
				return nil
			}
			<-time.After(time.Second)
			return failing("2", 1)(ctx)
		}})})
		w.publish("k", "1", "2")
		synctest.Wait()
		w.tell("k", "L")
		w.pass(500 * time.Millisecond)
		w.expect("k#1 starts")
		w.pass(time.Minute)
		w.expect("k#1 1 at 1s", "k#1 2: flaky at 2s", "k#1 2 at 13s", "k#1 letter L at 13s")
	})
}

func TestBacklogIsBounded(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{MaxBacklog: 2, Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			<-time.After(time.Second)
			ctx.Respond("done")
			return nil
		}})})
		dead := w.deadLetters()
		w.tell("k", "1")
		w.tell("k", "2")
		w.tell("k", "3")
		if d := dead(); !slices.Equal(d, []string{"3 to k"}) {
			t.Fatalf("dead letters: %q", d)
		}
		pid := w.sys.PID("g0", "in", []byte("k"))
		_, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), pid, "4")
		if !errors.Is(err, actors.ErrBacklogFull) {
			t.Fatalf("error %v", err)
		}
		if got := w.ask(w.sys.PID("g0", "in", []byte("other")), "5"); got != "done" {
			t.Fatalf("another key says %s", got)
		}
		w.pass(time.Minute)
		if got := w.ask(pid, "6"); got != "done" {
			t.Fatalf("later the key says %s", got)
		}
	})
}

// A PID stays good when its key's actor is passivated, and over epochs; between
// them it says that the key is not owned.
func TestPIDOutlivesActorsAndEpochs(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: w.instances(instance{receive: func(i *instance, ctx *actors.Context) error {
			ctx.Respond(i.name)
			return nil
		}})})
		pid := w.sys.PID("g0", "in", []byte("k"))
		if got := w.ask(pid, "a"); got != "k#1" {
			t.Fatalf("first: %s", got)
		}
		w.pass(2 * time.Minute)
		if got := w.ask(pid, "b"); got != "k#2" {
			t.Fatalf("after passivation: %s", got)
		}
		w.broker.Server().Rebalance("g0")
		w.pass(time.Second)
		if got := w.ask(pid, "c"); got != "k#3" {
			t.Fatalf("in the next epoch: %s", got)
		}
		w.stop()
		dead := w.deadLetters()
		_, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), pid, "d")
		if !errors.Is(err, actors.ErrNotOwned) {
			t.Fatalf("after the end: %v", err)
		}
		w.sys.ActorSystem().Root.Send(pid, "e")
		if d := dead(); !slices.Equal(d, []string{"e to k"}) {
			t.Fatalf("dead letters: %q", d)
		}
	})
}

// A system that takes the place of an ended one on the same actor system gets
// its keys' letters.
func TestSystemsFollowEachOther(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		shared := quietSystem()
		for n := range 3 {
			w.startWith(actors.Config{ActorSystem: shared}, actors.Subscription{Actor: w.instances(instance{receive: func(i *instance, ctx *actors.Context) error {
				ctx.Respond(fmt.Sprint("system ", n))
				return nil
			}})})
			if got := w.ask(w.sys.PID("g0", "in", []byte("k")), "who?"); got != fmt.Sprint("system ", n) {
				t.Errorf("system %d: %s", n, got)
			}
			w.stop()
		}
	})
}

// Letters that wait when the epoch ends are refused, wherever they wait.
func TestWaitingLettersAreRefusedAtTheEnd(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		gate := make(chan struct{})
		w.startWith(actors.Config{DrainTimeout: time.Second}, actors.Subscription{Policy: constant(9, time.Hour), Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			switch subject(ctx) {
			case "fail":
				return errFlaky
			case "hang":
				<-gate
			case "letter stashed":
				return ctx.Stash()
			}
			return nil
		}})})
		dead := w.deadLetters()
		w.publish("failing", "fail")
		w.publish("hanging", "hang")
		synctest.Wait()
		errs := make(chan error, 3)
		for key, letter := range map[string]string{"failing": "waits", "hanging": "waits", "stashing": "stashed"} {
			w.tell(key, letter)
			go func() {
				_, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), w.sys.PID("g0", "in", []byte(key)), letter)
				errs <- err
			}()
		}
		synctest.Wait()
		w.stop()
		for range 3 {
			if err := <-errs; !errors.Is(err, actors.ErrNotOwned) {
				t.Errorf("error %v", err)
			}
		}
		got := dead()
		slices.Sort(got)
		if want := []string{"stashed to stashing", "waits to failing", "waits to hanging"}; !slices.Equal(got, want) {
			t.Errorf("dead letters: %q", got)
		}
		close(gate)
	})
}

// A lane has a PID of its own, which is not that of the empty key.
func TestLaneHasItsOwnPID(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 3}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if ctx.Event() != nil {
				ctx.Send(ctx.Self(), fmt.Sprintf("from partition %d", ctx.Event().Partition))
				ctx.After(time.Second, "t", "time")
			}
			return nil
		}})})
		w.send(brokers.Message{Topic: "in", Key: []byte{}, Payload: []byte("of the empty key")})
		synctest.Wait()
		empty := w.forget()
		w.send(brokers.Message{Topic: "in", Payload: []byte("keyless")})
		synctest.Wait()
		lane := w.forget()
		if len(empty) != 3 || len(lane) != 3 || empty[0] != "#1 starts" || lane[0] != "#2 starts" {
			t.Fatalf("the empty key: %q, the lane: %q", empty, lane)
		}
		for _, log := range [][]string{empty, lane} {
			if log[2][:2] != log[0][:2] {
				t.Errorf("the letter went to another: %q", log)
			}
		}
	})
}

// A key that lives where its publisher put it, not where its hash says, is found
// there while it has an actor.
func TestKeyPublishedElsewhereIsFound(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 5}, func(w *world) {
		w.start(actors.Subscription{
			Key: brokers.HeaderKey("customer"),
			Actor: w.instances(instance{receive: func(i *instance, ctx *actors.Context) error {
				if ctx.Event() != nil {
					ctx.Send(ctx.Self(), "to myself")
				}
				ctx.Respond(i.name)
				return nil
			}}),
		})
		for n := range 5 {
			customer := fmt.Sprint("c", n)
			w.send(brokers.Message{
				Topic: "in", Key: []byte(fmt.Sprint("order ", n)), Payload: []byte("1"),
				Headers: brokers.Headers{{Key: "customer", Value: []byte(customer)}},
			})
			w.expect(customer+"#1 starts", customer+"#1 1", customer+"#1 letter to myself", customer+"#1 letter "+customer+"#1")
			if got := w.ask(w.sys.PID("g0", "in", []byte(customer)), "who?"); got != customer+"#1" {
				t.Errorf("%s is asked, %s answers", customer, got)
			}
			w.forget()
		}
	})
}

// Groups and topics with slashes do not meet.
func TestAddressesAreApart(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		who := func(name string) actors.Actor {
			return actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				ctx.Respond(name)
				return nil
			}))
		}
		w.start(
			actors.Subscription{Group: "a/b", Topics: []string{"c"}, Actor: who("first")},
			actors.Subscription{Group: "a", Topics: []string{"b/c"}, Actor: who("second")},
		)
		w.send(brokers.Message{Topic: "c", Key: []byte("k"), Payload: []byte("1")})
		w.send(brokers.Message{Topic: "b/c", Key: []byte("k"), Payload: []byte("1")})
		w.pass(time.Second)
		if got := w.ask(w.sys.PID("a/b", "c", []byte("k")), "who?"); got != "first" {
			t.Errorf("a/b, c: %s", got)
		}
		if got := w.ask(w.sys.PID("a", "b/c", []byte("k")), "who?"); got != "second" {
			t.Errorf("a, b/c: %s", got)
		}
	})
}

// Without order keys have no actors that could be reached.
func TestUnorderedKeysCannotBeReached(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Unordered: true, Actor: w.instances(instance{})})
		_, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), w.sys.PID("g0", "in", []byte("k")), "hello")
		if !errors.Is(err, actors.ErrNotOwned) {
			t.Fatalf("error %v", err)
		}
	})
}

// A stopped key ends as by passivation; one that does not exist is not made.
func TestStopAKeyByPID(t *testing.T) {
	stops := map[string]func(root *actor.RootContext, pid *actor.PID){
		"stop":   func(root *actor.RootContext, pid *actor.PID) { root.Stop(pid) },
		"poison": func(root *actor.RootContext, pid *actor.PID) { root.Poison(pid) },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				core, logs := observer.New(zap.InfoLevel)
				w.startWith(actors.Config{Logger: zap.New(core)}, actors.Subscription{Actor: w.instances(instance{})})
				stop(w.sys.ActorSystem().Root, w.sys.PID("g0", "in", []byte("nobody")))
				w.expect()
				w.publish("k", "1")
				synctest.Wait()
				stop(w.sys.ActorSystem().Root, w.sys.PID("g0", "in", []byte("k")))
				w.expect("k#1 starts", "k#1 1", "k#1 stops")
				if cells, _ := actors.Residents(w.sys); cells != 0 {
					t.Fatalf("%d cells", cells)
				}
				if logs.Len() != 0 {
					t.Fatalf("logged: %v", logs.All())
				}
			})
		})
	}
}
