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
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// instance is a key's actor that notes its life: "k#2" is the second of key k.
type instance struct {
	w                *world
	name             string
	clock            bool // note the time as well
	started, receive func(*instance, *actors.Context) error
	stopped          func(*instance, *actors.Context)
}

func (i *instance) Started(ctx *actors.Context) error {
	var err error
	if i.started != nil {
		err = i.started(i, ctx)
	}
	i.w.note("%s starts%s", i.name, because(err))
	return err
}

func (i *instance) Receive(ctx *actors.Context) error {
	var err error
	if i.receive != nil {
		err = i.receive(i, ctx)
	}
	i.w.note("%s %s%s%s", i.name, subject(ctx), because(err), i.at())
	return err
}

func (i *instance) Stopped(ctx *actors.Context) {
	i.w.note("%s stops", i.name)
	if i.stopped != nil {
		i.stopped(i, ctx)
	}
}

// at is the time for those that want it in their notes.
func (i *instance) at() string {
	if !i.clock {
		return ""
	}
	return fmt.Sprintf(" at %v", i.w.at())
}

// subject is what ctx holds: a payload, or a letter.
func subject(ctx *actors.Context) string {
	if m := ctx.Event(); m != nil {
		return string(m.Payload)
	}
	switch l := ctx.Letter().(type) {
	case actors.ReceiveTimeout:
		return "timeout"
	case *actor.Terminated:
		return "child ended"
	default:
		return fmt.Sprintf("letter %v", l)
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// instances makes one instance like the given one per key, counting them.
func (w *world) instances(like instance) *actors.Blueprint[instance] {
	made := make(map[string]int)
	return actors.PerKey(func(key string) *instance {
		w.mu.Lock()
		defer w.mu.Unlock()
		made[key]++
		i := like
		i.w, i.name = w, fmt.Sprintf("%s#%d", key, made[key])
		return &i
	})
}

// script says what an instance does with a subject; nothing, if not listed.
type script map[string]func(*actors.Context) error

func (s script) follow(_ *instance, ctx *actors.Context) error {
	if f := s[subject(ctx)]; f != nil {
		return f(ctx)
	}
	return nil
}

// tell sends a letter to a key from outside.
func (w *world) tell(key string, letter any) {
	w.sys.ActorSystem().Root.Send(w.sys.PID("g0", "in", []byte(key)), letter)
}

func TestLifeOfAnInstance(t *testing.T) {
	tests := map[string]struct {
		receive func(*actors.Context) error
		want    []string
	}{
		"an error keeps it": {
			func(ctx *actors.Context) error { return failing("x", 1)(ctx) },
			[]string{"k#1 starts", "k#1 x: flaky", "k#1 x", "k#1 y", "k#1 stops"},
		},
		"a panic ends it": {
			func(ctx *actors.Context) error {
				if failing("x", 1)(ctx) != nil {
					panic("bug")
				}
				return nil
			},
			[]string{"k#1 starts", "k#1 stops", "k#2 starts", "k#2 x", "k#2 y", "k#2 stops"},
		},
		"an exit of its goroutine ends it": {
			func(ctx *actors.Context) error {
				if failing("x", 1)(ctx) != nil {
					runtime.Goexit()
				}
				return nil
			},
			[]string{"k#1 starts", "k#1 stops", "k#2 starts", "k#2 x", "k#2 y", "k#2 stops"},
		},
		"Passivate ends it when nothing waits": {
			func(ctx *actors.Context) error { ctx.Passivate(); return nil },
			[]string{"k#1 starts", "k#1 x", "k#1 y", "k#1 stops"},
		},
		"Passivate is dropped with an error": {
			func(ctx *actors.Context) error {
				ctx.Passivate()
				return failing("y", 1)(ctx)
			},
			[]string{"k#1 starts", "k#1 x", "k#1 y: flaky", "k#1 y", "k#1 stops"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.publish("k", "x", "y")
				w.start(actors.Subscription{
					Policy: constant(3, time.Second),
					Actor:  w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error { return tt.receive(ctx) }}),
				})
				w.pass(time.Minute)
				w.stop()
				w.expect(tt.want...)
			})
		})
	}
}

func TestIdleInstanceIsPassivated(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: w.instances(instance{})})
		w.publish("a", "1")
		w.pass(30 * time.Second)
		w.publish("b", "1")
		w.pass(29 * time.Second)
		w.expect("a#1 starts", "a#1 1", "b#1 starts", "b#1 1")
		w.pass(2 * time.Second)
		w.expect("a#1 stops")
		w.publish("a", "2")
		w.expect("a#2 starts", "a#2 2")
		w.pass(time.Hour)
		w.expect("b#1 stops", "a#2 stops")
		if cells, timers := actors.Residents(w.sys); cells != 0 || timers != 0 {
			t.Fatalf("%d cells and %d timers are left of passivated keys", cells, timers)
		}
	})
}

func TestPassivationCanBeTurnedOff(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: -1, Actor: w.instances(instance{})})
		w.publish("a", "1")
		w.pass(24 * time.Hour)
		w.expect("a#1 starts", "a#1 1")
	})
}

// Passivate waits for what comes meanwhile, however often it is asked for, and
// does not make the key run in circles.
func TestPassivateWaitsForArrivals(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			ctx.Passivate()
			<-time.After(time.Second)
			return nil
		}})})
		w.publish("k", "1", "2")
		w.pass(1500 * time.Millisecond)
		w.publish("k", "3")
		w.pass(time.Minute)
		w.expect("k#1 starts", "k#1 1", "k#1 2", "k#1 3", "k#1 stops")
		if cells, _ := actors.Residents(w.sys); cells != 0 {
			t.Fatalf("%d cells are left", cells)
		}
	})
}

// Passivation at the very instants at which messages arrive: each message is
// handled once, by an instance that lives.
func TestPassivationRacesArrival(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		const rounds = 200
		w.start(actors.Subscription{PassivateAfter: time.Millisecond, Actor: w.instances(instance{})})
		for n := range rounds {
			for k := range 10 {
				w.publish(fmt.Sprint("k", k), fmt.Sprint(n))
			}
			<-time.After(time.Millisecond)
		}
		w.pass(time.Second)
		var alive, handled, next [10]int
		for _, line := range w.forget() {
			var key, number, n int
			switch {
			case strings.HasSuffix(line, "starts"):
				must(fmt.Sscanf(line, "k%d#%d", &key, &number))
				if alive[key] != 0 {
					t.Fatalf("%s while #%d lives", line, alive[key])
				}
				alive[key] = number
			case strings.HasSuffix(line, "stops"):
				must(fmt.Sscanf(line, "k%d#%d", &key, &number))
				alive[key] = 0
			default:
				must(fmt.Sscanf(line, "k%d#%d %d", &key, &number, &n))
				if alive[key] != number || n != next[key] {
					t.Fatalf("%s, while #%d lives and %d is next", line, alive[key], next[key])
				}
				next[key]++
				handled[key]++
			}
		}
		if handled != [10]int(slices.Repeat([]int{rounds}, 10)) || alive != [10]int{} {
			t.Fatalf("handled %v, alive %v", handled, alive)
		}
	})
}

func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

// A stop hook that panics: the instance is stopped once, its child too, its
// timers are gone, and the panic is logged once.
func TestPanicWhileStopping(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		core, logs := observer.New(zap.ErrorLevel)
		w.startWith(actors.Config{Logger: zap.New(core)}, actors.Subscription{
			PassivateAfter: time.Minute,
			Actor: w.instances(instance{
				started: func(i *instance, ctx *actors.Context) error {
					ctx.Every(7*time.Minute, "tick", "tick")
					_, err := ctx.Spawn(w.child("child of "+i.name, nil), "c")
					return err
				},
				stopped: func(*instance, *actors.Context) { panic("bug in stop") },
			}),
		})
		w.publish("k", "1")
		w.pass(30 * time.Second)
		w.expect("child of k#1 starts", "k#1 starts", "k#1 1")
		w.pass(time.Hour)
		w.expect("k#1 stops", "child of k#1 stops")
		if cells, timers := actors.Residents(w.sys); cells != 0 || timers != 0 {
			t.Fatalf("%d cells and %d timers are left", cells, timers)
		}
		if n := logs.Len(); n != 1 {
			t.Fatalf("%d lines are logged: %v", n, logs.All())
		}
		w.publish("k", "2")
		w.pass(time.Second)
		w.expect("child of k#2 starts", "k#2 starts", "k#2 2")
	})
}

// A start hook that fails twice, in whatever way, and then works: no message is
// handled before it has, none counts as failed, and their order is kept. Stopped
// is not called for what did not start.
func TestFailingStart(t *testing.T) {
	fail := map[string]func() error{
		"error": func() error { return errFlaky },
		"panic": func() error { panic("bug in start") },
		"exit":  func() error { runtime.Goexit(); return nil },
	}
	for name, fail := range fail {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				policy := constant(1, time.Second)
				policy.DeadLetter = "dead"
				tries := 0
				w.start(actors.Subscription{Policy: policy, Actor: w.instances(instance{
					started: func(_ *instance, ctx *actors.Context) error {
						ctx.After(time.Millisecond, "t", "of the start that failed")
						w.must(ctx.Publish("out", []byte("started")))
						if tries++; tries <= 2 {
							return fail()
						}
						ctx.CancelTimer("t")
						return nil
					},
					receive: func(_ *instance, ctx *actors.Context) error {
						if ctx.Attempt() != 1 {
							t.Errorf("attempt %d", ctx.Attempt())
						}
						return nil
					},
				})})
				w.publish("k", "1", "2", "3")
				w.pass(time.Second - time.Millisecond)
				for _, line := range w.forget() {
					if !strings.HasPrefix(line, "k#1 starts") {
						t.Errorf("before the start hook has succeeded: %s", line)
					}
				}
				w.pass(time.Minute)
				log := w.forget()
				want := []string{"k#3 starts", "k#3 1", "k#3 2", "k#3 3"}
				if len(log) > len(want) && strings.HasPrefix(log[0], "k#2 starts: ") {
					log = log[1:]
				}
				if !slices.Equal(log, want) {
					t.Fatalf("log %q, want %q", log, want)
				}
				if got := w.payloads("out"); !slices.Equal(got, []string{"started"}) {
					t.Fatalf("published by start hooks: %q", got)
				}
				if r := w.stop(); r.Handled != 3 || r.Retried != 0 || r.DeadLettered != 0 {
					t.Fatalf("report: %v", r)
				}
			})
		})
	}
}

// An instance that cannot start fails the letter that wanted it, and hooks
// stage nothing that reaches the next instance.
func TestFailingStartAnswersRequests(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Actor: w.instances(instance{
			started: func(*instance, *actors.Context) error { return errFlaky },
		})})
		_, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), w.sys.PID("g0", "in", []byte("k")), "hello")
		if !errors.Is(err, errFlaky) {
			t.Fatalf("error %v", err)
		}
		w.expect("k#1 starts: flaky")
	})
}

// The end of an epoch stops every instance, busy ones when they come to an end.
func TestEndOfAnEpochStopsInstances(t *testing.T) {
	ends := map[string]func(w *world){
		"shutdown": func(w *world) { w.stop() },
		"rebalance": func(w *world) {
			w.broker.Server().Rebalance("g0")
			w.pass(time.Second)
		},
		"loss": func(w *world) {
			w.must(w.broker.Server().Expel("g0", w.broker.Server().Members("g0")[0].Name))
			w.pass(time.Second)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.start(actors.Subscription{Actor: w.instances(instance{})})
				w.publish("a", "1")
				w.publish("b", "1")
				w.pass(time.Second)
				w.forget()
				end(w)
				got := w.forget()
				slices.Sort(got)
				if !slices.Equal(got, []string{"a#1 stops", "b#1 stops"}) {
					t.Fatalf("log %q", got)
				}
			})
		})
	}
}

// Stop hooks that hang delay the end of a partition no longer than its grace.
func TestHangingStopHookDoesNotHangRun(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		gate := make(chan struct{})
		w.startWith(actors.Config{DrainTimeout: 2 * time.Second}, actors.Subscription{Actor: w.instances(instance{
			stopped: func(*instance, *actors.Context) { <-gate },
		})})
		for k := range 10 {
			w.publish(fmt.Sprint("k", k), "1")
		}
		w.pass(time.Second)
		begun := w.at()
		w.cancel()
		<-w.ended
		if took := w.at() - begun; took > 5*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		close(gate)
		synctest.Wait()
		stops := 0
		for _, line := range w.forget() {
			if strings.HasSuffix(line, "stops") {
				stops++
			}
		}
		if stops != 10 {
			t.Errorf("%d of 10 instances were stopped", stops)
		}
	})
}

// An instance whose handler outlives its epoch is stopped when it returns.
func TestHandlerThatOutlivesItsEpochIsStoppedAfterwards(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		gate := make(chan struct{})
		w.startWith(actors.Config{DrainTimeout: time.Second}, actors.Subscription{Actor: w.instances(instance{
			receive: func(*instance, *actors.Context) error { <-gate; return nil },
		})})
		w.publish("k", "1")
		w.pass(time.Second)
		w.stop()
		w.expect("k#1 starts")
		close(gate)
		w.expect("k#1 1", "k#1 stops")
	})
}

// Without order a message has an instance to itself, which ends with it.
func TestInstanceOfAnUnorderedMessageEndsWithIt(t *testing.T) {
	subs := map[string]actors.Subscription{
		"unordered":         {Unordered: true},
		"unkeyed, at once":  {Unkeyed: actors.UnkeyedConcurrent},
		"unordered, at all": {Unordered: true, Unkeyed: actors.UnkeyedConcurrent},
	}
	for name, sub := range subs {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				var self, stash []any
				sub.Actor = w.instances(instance{receive: func(i *instance, ctx *actors.Context) error {
					ctx.After(time.Second, "t", "of another's life")
					ctx.SetReceiveTimeout(time.Second)
					if ctx.Attempt() == 1 {
						if _, err := ctx.Spawn(w.child("child", nil), "c"); err != nil {
							return err
						}
					}
					self = append(self, ctx.Self())
					stash = append(stash, ctx.Stash())
					if subject(ctx) == "1" && ctx.Attempt() == 1 {
						return errFlaky
					}
					return nil
				}})
				sub.Policy = constant(2, time.Second)
				w.start(sub)
				w.send(brokers.Message{Topic: "in", Payload: []byte("1")})
				w.pass(time.Minute)
				w.expect("#1 starts", "child starts", "#1 1: flaky", "#1 1", "#1 stops", "child stops")
				w.send(brokers.Message{Topic: "in", Payload: []byte("2")})
				w.pass(time.Minute)
				w.expect("#2 starts", "child starts", "#2 2", "#2 stops", "child stops")
				for i := range self {
					if self[i] != (*actor.PID)(nil) || !errors.Is(stash[i].(error), actors.ErrNoStash) {
						t.Errorf("Self is %v and Stash says %v", self[i], stash[i])
					}
				}
				if cells, timers := actors.Residents(w.sys); cells != 0 || timers != 0 {
					t.Fatalf("%d cells and %d timers are left", cells, timers)
				}
				if p := w.position("g0"); p != 2 {
					t.Fatalf("position %d", p)
				}
			})
		})
	}
}

// A panic of a letter's handler, or the end of its goroutine, ends the instance
// and answers the sender; the letter is not tried again.
func TestLetterThatBreaksItsInstance(t *testing.T) {
	breaks := map[string]func(){
		"panic": func() { panic("bug") },
		"exit":  runtime.Goexit,
	}
	for name, f := range breaks {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.start(actors.Subscription{Actor: w.instances(instance{receive: script{
					"letter break": func(ctx *actors.Context) error {
						ctx.Respond("never sent")
						f()
						return nil
					},
				}.follow})})
				w.publish("k", "1")
				w.pass(time.Second)
				answer, err := actors.Ask[string](w.t.Context(), w.sys.ActorSystem(), w.sys.PID("g0", "in", []byte("k")), "break")
				var panicked *supervision.PanicError
				if !errors.As(err, &panicked) {
					t.Fatalf("answer %q, error %v", answer, err)
				}
				w.publish("k", "2")
				w.expect("k#1 starts", "k#1 1", "k#1 stops", "k#2 starts", "k#2 2")
			})
		})
	}
}
