package actors_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// child is an ordinary actor that notes its life. It panics on "panic", ends on
// "end", and does f with the rest.
func (w *world) child(name string, f func(actor.Context)) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			w.note("%s starts", name)
		case *actor.Stopped:
			w.note("%s stops", name)
		case *actor.Restarting:
			w.note("%s restarts at %v", name, w.at())
		case string:
			switch m {
			case "panic":
				panic("bug of the child")
			case "end":
				ctx.Stop(ctx.Self())
			}
		}
		if f != nil {
			f(ctx)
		}
	}, inline)
}

// inline has a child handle what reaches it in the sender's goroutine, so that
// what is noted has one order.
var inline = actor.WithDispatcher(actor.NewSynchronizedDispatcher(1000))

// shortLived is a child that ends after d.
func shortLived(d time.Duration) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*actor.Started); ok {
			self, root := ctx.Self(), ctx.ActorSystem().Root
			time.AfterFunc(d, func() { root.Stop(self) })
		}
	})
}

// tree is a parent of children under a strategy. The parent notes their ends.
type tree struct {
	w        *world
	sys      *actor.ActorSystem
	parent   *actor.PID
	children map[string]*actor.PID
}

func (w *world) tree(strategy actor.SupervisorStrategy, names ...string) *tree {
	t := &tree{w: w, sys: quietSystem(), children: make(map[string]*actor.PID)}
	ready := make(chan struct{})
	t.parent = t.sys.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			for _, name := range names {
				pid, err := ctx.SpawnNamed(w.child(name, nil), name)
				w.must(err)
				t.children[name] = pid
			}
			close(ready)
		case *actor.Terminated:
			w.note("%s terminated at %v", m.Who.Id[strings.LastIndex(m.Who.Id, "/")+1:], w.at())
		}
	}, actor.WithSupervisor(strategy)))
	<-ready
	synctest.Wait()
	w.forget()
	return t
}

func (t *tree) fail(name string) {
	t.sys.Root.Send(t.children[name], "panic")
	synctest.Wait()
}

func (t *tree) end() {
	t.sys.Root.Stop(t.parent)
	synctest.Wait()
}

var threePerSecond = supervision.RestartWindow{Max: 3, Within: time.Second}

// The budget of a child is its own, and of a window: failures that are spread
// out do not add up, nor do those of siblings.
func TestChildBudget(t *testing.T) {
	ms := func(all ...int) (at []time.Duration) {
		for _, n := range all {
			at = append(at, time.Duration(n)*time.Millisecond)
		}
		return at
	}
	tests := map[string]struct {
		failures []time.Duration // of each child
		children []string
		want     []string
	}{
		"bursts far apart": {
			ms(0, 10, 20, 5000, 5010, 5020),
			[]string{"A"},
			[]string{
				"A restarts at 0s", "A restarts at 10ms", "A restarts at 20ms",
				"A restarts at 5s", "A restarts at 5.01s", "A restarts at 5.02s",
			},
		},
		"four within a second": {
			ms(0, 300, 600, 900),
			[]string{"B"},
			[]string{
				"B restarts at 0s", "B restarts at 300ms", "B restarts at 600ms",
				"B stops", "B terminated at 900ms",
			},
		},
		"five at once, one each": {
			ms(0),
			[]string{"C1", "C2", "C3", "C4", "C5"},
			[]string{
				"C1 restarts at 0s", "C2 restarts at 0s", "C3 restarts at 0s", "C4 restarts at 0s", "C5 restarts at 0s",
			},
		},
		"exactly a second apart": {
			ms(0, 1000, 2000, 3000, 4000),
			[]string{"D"},
			[]string{
				"D restarts at 0s", "D restarts at 1s", "D restarts at 2s", "D restarts at 3s", "D restarts at 4s",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				tree := w.tree(actors.NewChildSupervisor(threePerSecond, nil), tt.children...)
				for _, at := range tt.failures {
					w.pass(at - w.at())
					for _, c := range tt.children {
						tree.fail(c)
					}
				}
				w.pass(time.Minute)
				var got []string
				for _, line := range w.forget() {
					if !strings.HasSuffix(line, "starts") || strings.Contains(line, "restarts") {
						got = append(got, line)
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Fatalf("log\n%q\nwant\n%q", got, tt.want)
				}
				tree.end()
			})
		})
	}
}

// A child that is made anew under the name of one that was stopped has a budget
// of its own.
func TestBudgetIsOfTheChildNotOfItsName(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		strategy := actors.NewChildSupervisor(supervision.RestartWindow{Max: 1, Within: -1}, nil)
		for range 3 {
			tree := w.tree(strategy, "A")
			tree.fail("A")
			w.expect(fmt.Sprintf("A restarts at %v", w.at()), "A starts")
			tree.end()
			w.forget()
		}
	})
}

// The strategy keeps nothing of children that have ended.
func TestBudgetsEndWithTheirChildren(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		strategy := actors.NewChildSupervisor(threePerSecond, nil)
		for n := range 20 {
			name := fmt.Sprint("child", n)
			tree := w.tree(strategy, name)
			tree.fail(name)
			tree.end()
		}
		for tries := 0; actors.Budgets(strategy) > 1; tries++ {
			if tries == 100 {
				t.Fatalf("%d budgets are kept", actors.Budgets(strategy))
			}
			runtime.GC()
			w.pass(time.Millisecond)
		}
	})
}

// kept remembers the PID of the child that was made last.
type kept struct{ pid *actor.PID }

func (k *kept) child(w *world) *actor.Props {
	return w.child("child", func(ctx actor.Context) {
		if _, ok := ctx.Message().(*actor.Started); ok {
			k.pid = ctx.Self()
		}
	})
}

// A key's child is restarted within its budget, then stopped, of which the key
// hears once.
func TestKeysChildIsSupervised(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		var k kept
		core, logs := observer.New(zap.WarnLevel)
		w.startWith(actors.Config{Logger: zap.New(core)}, actors.Subscription{
			Children: supervision.RestartWindow{Max: 2, Within: time.Second},
			Actor: w.instances(instance{receive: script{"spawn": func(ctx *actors.Context) error {
				_, err := ctx.Spawn(k.child(w), "c")
				return err
			}}.follow}),
		})
		w.publish("k", "spawn")
		synctest.Wait()
		for range 3 {
			w.sys.ActorSystem().Root.Send(k.pid, "panic")
			synctest.Wait()
		}
		w.expect("k#1 starts", "child starts", "k#1 spawn",
			"child restarts at 0s", "child starts", "child restarts at 0s", "child starts", "child stops", "k#1 child ended")
		if n := logs.Len(); n != 3 {
			t.Fatalf("%d lines for three failures: %v", n, logs.All())
		}
		w.publish("k", "spawn")
		w.expect("child starts", "k#1 spawn")
	})
}

// The end of a child that the key's actor has not outlived is told to nobody,
// and makes no new actor.
func TestEndOfAChildIsNotToldToAnother(t *testing.T) {
	ends := map[string]func(w *world){
		"passivation": func(w *world) { w.pass(2 * time.Minute) },
		"panic":       func(w *world) { w.tell("k", "panic") },
		"stop by PID": func(w *world) { w.sys.ActorSystem().Root.Stop(w.sys.PID("g0", "in", []byte("k"))) },
		"poison":      func(w *world) { w.sys.ActorSystem().Root.Poison(w.sys.PID("g0", "in", []byte("k"))) },
		"rebalance":   func(w *world) { w.broker.Server().Rebalance("g0") },
		"loss": func(w *world) {
			w.must(w.broker.Server().Expel("g0", w.broker.Server().Members("g0")[0].Name))
		},
		"shutdown": func(w *world) { w.stop() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				var k kept
				w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: w.instances(instance{receive: script{
					"spawn": func(ctx *actors.Context) error {
						_, err := ctx.Spawn(k.child(w), "c")
						return err
					},
					"letter panic": func(*actors.Context) error { panic("bug") },
				}.follow})})
				dead := w.deadLetters()
				w.publish("k", "spawn")
				synctest.Wait()
				w.forget()
				end(w)
				w.pass(time.Second)
				w.expect("k#1 stops", "child stops")
				if d := dead(); len(d) > 0 {
					t.Fatalf("dead letters: %v", d)
				}
			})
		})
	}
}

// A name is unique among the children that a key's actor has now; those of other
// keys and of the key's former actor, which may still be ending, do not matter.
func TestNamesOfChildren(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		gate := make(chan struct{})
		defer close(gate)
		slow := actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Stopping); ok {
				<-gate
			}
		})
		names := map[string]string{"a": "b/c", "a/b": "c"}
		w.start(actors.Subscription{Policy: constant(2, time.Second), Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if subject(ctx) == "panic" && ctx.Attempt() == 1 {
				panic("bug")
			}
			first, err := ctx.Spawn(slow, names[ctx.Key()])
			if err != nil {
				return err
			}
			second, err := ctx.Spawn(slow, names[ctx.Key()])
			if !errors.Is(err, actor.ErrNameExists) || second != first {
				t.Errorf("%v, error %v", second, err)
			}
			return nil
		}})})
		w.publish("a", "1")
		synctest.Wait()
		w.publish("a/b", "1")
		synctest.Wait()
		w.publish("a", "panic")
		w.pass(time.Minute)
		w.expect("a#1 starts", "a#1 1", "a/b#1 starts", "a/b#1 1", "a#1 stops", "a#2 starts", "a#2 panic")
	})
}

// Spawn reports what goes wrong in making the child, and hurts no other child.
func TestSpawnFails(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		var k kept
		bad := actor.PropsFromProducer(func() actor.Actor { panic("bug in producer") })
		w.start(actors.Subscription{Policy: constant(1, time.Second), Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if subject(ctx) == "good" {
				_, err := ctx.Spawn(k.child(w), "good")
				return err
			}
			_, err := ctx.Spawn(bad, "bad")
			if err == nil || !strings.Contains(err.Error(), "bug in producer") {
				t.Errorf("error %v", err)
			}
			return nil
		}})})
		w.publish("k", "good", "bad", "good by")
		w.expect("k#1 starts", "child starts", "k#1 good", "k#1 bad", "k#1 good by")
	})
}

// A handler that outlives its epoch gets no children any more.
func TestSpawnAfterTheEpoch(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		gate := make(chan struct{})
		w.startWith(actors.Config{DrainTimeout: time.Second}, actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			<-gate
			_, err := ctx.Spawn(w.child("child", nil), "c")
			return err
		}})})
		w.publish("k", "1")
		w.pass(time.Second)
		w.stop()
		close(gate)
		w.expect("k#1 starts", "k#1 1: brokers: partition revoked", "k#1 stops")
	})
}

// Children that end as soon as they begin are heard of as well.
func TestChildThatEndsAtOnce(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		hasty := actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				ctx.Stop(ctx.Self())
			}
		})
		ended := 0
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if subject(ctx) == "child ended" {
				ended++
				return nil
			}
			for n := range 100 {
				if _, err := ctx.Spawn(hasty, fmt.Sprint(n)); err != nil {
					return err
				}
			}
			return nil
		}})})
		w.publish("k", "1")
		w.pass(time.Second)
		if ended != 100 {
			t.Fatalf("the key heard of %d of 100", ended)
		}
	})
}

// Keys of Shared handlers have children, too; those of a lane are told to it.
func TestChildrenWithoutInstances(t *testing.T) {
	handlers := map[string]func(w *world, f func(*actors.Context) error) actors.Actor{
		"shared": func(_ *world, f func(*actors.Context) error) actors.Actor {
			return actors.Shared(actors.HandlerFunc(f))
		},
		"per partition": func(_ *world, f func(*actors.Context) error) actors.Actor {
			return actors.PerPartition(func() *forward { return &forward{f} })
		},
	}
	for name, of := range handlers {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{Partitions: 3}, func(w *world) {
				w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: of(w, func(ctx *actors.Context) error {
					w.note("%s", subject(ctx))
					if ctx.Event() == nil {
						return nil
					}
					if _, err := ctx.Spawn(shortLived(time.Second), "short"); err != nil {
						return err
					}
					_, err := ctx.Spawn(w.child("long", nil), "long")
					return err
				})})
				w.publish("k", "1")
				w.pass(10 * time.Second)
				w.expect("1", "long starts", "child ended")
				w.pass(time.Hour)
				w.expect("long stops")
			})
		})
	}
}

type forward struct{ f func(*actors.Context) error }

func (f *forward) Receive(ctx *actors.Context) error { return f.f(ctx) }
