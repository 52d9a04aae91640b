package actors_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

const never = time.Duration(math.MaxInt64)

// takes makes a step that takes a while.
func takes(d time.Duration, then func(*actors.Context)) func(*actors.Context) error {
	return func(ctx *actors.Context) error {
		<-time.After(d)
		then(ctx)
		return nil
	}
}

// does makes a step that succeeds.
func does(f func(*actors.Context)) func(*actors.Context) error { return takes(0, f) }

func TestTimers(t *testing.T) {
	tests := map[string]struct {
		do      script
		publish []string
		want    []string
	}{
		"once": {
			script{"x": does(func(ctx *actors.Context) { ctx.After(time.Second, "t", "A") })},
			[]string{"x"},
			[]string{"x at 0s", "letter A at 1s"},
		},
		"at once": {
			script{"x": does(func(ctx *actors.Context) { ctx.After(-time.Second, "t", "A") })},
			[]string{"x"},
			[]string{"x at 0s", "letter A at 0s"},
		},
		"never": {
			script{"x": does(func(ctx *actors.Context) {
				ctx.After(never, "t", "A")
				ctx.Every(never, "u", "B")
				ctx.SetReceiveTimeout(never)
			})},
			[]string{"x"},
			[]string{"x at 0s"},
		},
		"the same name replaces": {
			script{"x": does(func(ctx *actors.Context) {
				ctx.After(time.Second, "t", "A")
				ctx.After(2*time.Second, "t", "B")
			})},
			[]string{"x"},
			[]string{"x at 0s", "letter B at 2s"},
		},
		"names are apart": {
			script{"x": does(func(ctx *actors.Context) {
				ctx.After(2*time.Second, "t", "A")
				ctx.After(time.Second, "u", "B")
			})},
			[]string{"x"},
			[]string{"x at 0s", "letter B at 1s", "letter A at 2s"},
		},
		"periodic until cancelled": {
			script{
				"x": does(func(ctx *actors.Context) {
					ctx.Every(time.Second, "t", "A")
					ctx.After(3500*time.Millisecond, "end", "end")
				}),
				"letter end": does(func(ctx *actors.Context) { ctx.CancelTimer("t") }),
			},
			[]string{"x"},
			[]string{"x at 0s", "letter A at 1s", "letter A at 2s", "letter A at 3s", "letter end at 3.5s"},
		},
		"periods that pass while a letter waits are skipped": {
			script{
				"x": does(func(ctx *actors.Context) {
					ctx.Every(time.Second, "t", "A")
					ctx.After(5500*time.Millisecond, "end", "end")
				}),
				"y":          takes(3500*time.Millisecond, func(*actors.Context) {}),
				"letter end": does(func(ctx *actors.Context) { ctx.CancelTimer("t") }),
			},
			[]string{"x", "y"},
			[]string{"x at 0s", "y at 3.5s", "letter A at 3.5s", "letter A at 4s", "letter A at 5s", "letter end at 5.5s"},
		},
		"dropped with an error": {
			script{"x": func(ctx *actors.Context) error {
				if ctx.Attempt() == 1 {
					ctx.After(time.Second, "t", "A")
					return errFlaky
				}
				ctx.After(time.Second, "u", "B")
				return nil
			}},
			[]string{"x"},
			[]string{"x: flaky at 0s", "x at 10s", "letter B at 11s"},
		},
		"a cancelled one does not come, though it is due and waits": {
			script{
				"x": does(func(ctx *actors.Context) { ctx.After(time.Second, "t", "A") }),
				"y": takes(2*time.Second, func(ctx *actors.Context) { ctx.CancelTimer("t") }),
			},
			[]string{"x", "y"},
			[]string{"x at 0s", "y at 2s"},
		},
		"nor does a replaced one": {
			script{
				"x": does(func(ctx *actors.Context) { ctx.After(time.Second, "t", "A") }),
				"y": takes(2*time.Second, func(ctx *actors.Context) { ctx.After(5*time.Second, "t", "B") }),
			},
			[]string{"x", "y"},
			[]string{"x at 0s", "y at 2s", "letter B at 7s"},
		},
		"a failed letter does not come again, the next period does": {
			script{
				"x": does(func(ctx *actors.Context) {
					ctx.Every(time.Second, "t", "A")
					ctx.After(1500*time.Millisecond, "u", "B")
					ctx.After(2500*time.Millisecond, "end", "end")
				}),
				"letter A":   func(*actors.Context) error { return errFlaky },
				"letter B":   func(*actors.Context) error { return errFlaky },
				"letter end": does(func(ctx *actors.Context) { ctx.CancelTimer("t") }),
			},
			[]string{"x"},
			[]string{"x at 0s", "letter A: flaky at 1s", "letter B: flaky at 1.5s", "letter A: flaky at 2s", "letter end at 2.5s"},
		},
		"a panic ends them, also what is due and waits": {
			script{
				"x": does(func(ctx *actors.Context) {
					ctx.After(time.Second, "due", "A")
					ctx.Every(time.Second, "period", "B")
					ctx.After(time.Minute, "far", "C")
					ctx.SetReceiveTimeout(time.Minute)
				}),
				"y": takes(2*time.Second, func(ctx *actors.Context) {
					if ctx.Attempt() == 1 {
						panic("bug")
					}
				}),
			},
			[]string{"x", "y"},
			[]string{"x at 0s", "y at 14s"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.publish("k", tt.publish...)
				w.start(actors.Subscription{
					Policy: constant(3, 10*time.Second), PassivateAfter: -1,
					Actor: w.instances(instance{clock: true, receive: tt.do.follow}),
				})
				w.pass(time.Hour)
				w.expectReceived(tt.want...)
			})
		})
	}
}

// expectReceived compares what instances have received, whichever they were.
func (w *world) expectReceived(want ...string) {
	w.t.Helper()
	synctest.Wait()
	var got []string
	for _, line := range w.forget() {
		_, what, _ := strings.Cut(line, " ")
		if what != "starts" && what != "stops" {
			got = append(got, what)
		}
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("received\n%q\nwant\n%q", got, want)
	}
}

func TestTimersEndWithPassivation(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: w.instances(instance{clock: true, receive: script{
			"x": does(func(ctx *actors.Context) {
				ctx.After(time.Hour, "t", "A")
				ctx.Every(61*time.Second, "u", "B")
				ctx.SetReceiveTimeout(61 * time.Second)
			}),
		}.follow})})
		w.publish("k", "x")
		w.pass(24 * time.Hour)
		w.expect("k#1 starts", "k#1 x at 0s", "k#1 stops")
		if cells, timers := actors.Residents(w.sys); cells != 0 || timers != 0 {
			t.Fatalf("%d cells and %d timers are left", cells, timers)
		}
	})
}

// A timer's letter keeps its actor from being idle, as any letter does.
func TestLettersOfTimersPutOffPassivation(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: time.Minute, Actor: w.instances(instance{receive: script{
			"x": does(func(ctx *actors.Context) { ctx.Every(30*time.Second, "t", "A") }),
		}.follow})})
		w.publish("k", "x")
		w.pass(time.Hour + time.Second)
		if log := w.forget(); len(log) != 2+120 || slices.Contains(log, "k#1 stops") {
			t.Fatalf("%d lines: %q", len(log), log)
		}
	})
}

// The receive timeout is set anew by all that reaches the key, the end of a
// child included, and comes once.
func TestReceiveTimeout(t *testing.T) {
	const half = 500 * time.Millisecond
	set := does(func(ctx *actors.Context) { ctx.SetReceiveTimeout(half) })
	again := 0
	tests := map[string]struct {
		do   script
		then func(w *world)
		want []string
	}{
		"a child that ends is heard of, and counts": {
			do: script{"x": func(ctx *actors.Context) error {
				ctx.SetReceiveTimeout(half)
				_, err := ctx.Spawn(shortLived(200*time.Millisecond), "c")
				return err
			}},
			want: []string{"x at 0s", "child ended at 200ms", "timeout at 700ms"},
		},
		"messages put it off": {
			do: script{"x": set},
			then: func(w *world) {
				for n := range 10 {
					w.pass(300 * time.Millisecond)
					w.publish("k", fmt.Sprint(n))
				}
			},
			want: []string{
				"x at 0s", "0 at 300ms", "1 at 600ms", "2 at 900ms", "3 at 1.2s", "4 at 1.5s", "5 at 1.8s",
				"6 at 2.1s", "7 at 2.4s", "8 at 2.7s", "9 at 3s", "timeout at 3.5s",
			},
		},
		"letters put it off": {
			do:   script{"x": set},
			then: func(w *world) { w.pass(300 * time.Millisecond); w.tell("k", "hello") },
			want: []string{"x at 0s", "letter hello at 300ms", "timeout at 800ms"},
		},
		"it comes again after the next thing": {
			do:   script{"x": set},
			then: func(w *world) { w.pass(time.Minute); w.publish("k", "y") },
			want: []string{"x at 0s", "timeout at 500ms", "y at 1m0s", "timeout at 1m0.5s"},
		},
		"its own letter may set it anew": {
			do: script{"x": set, "timeout": does(func(ctx *actors.Context) {
				if again++; again < 3 {
					ctx.SetReceiveTimeout(time.Second)
				}
			})},
			want: []string{"x at 0s", "timeout at 500ms", "timeout at 1.5s", "timeout at 2.5s"},
		},
		"a message that is slow is not silence": {
			do:   script{"x": set, "y": takes(time.Minute, func(*actors.Context) {})},
			then: func(w *world) { w.publish("k", "y") },
			want: []string{"x at 0s", "y at 1m0s", "timeout at 1m0.5s"},
		},
		"nor is the back-off of one that fails": {
			do:   script{"x": set, "y": func(ctx *actors.Context) error { return failing("y", 2)(ctx) }},
			then: func(w *world) { w.publish("k", "y") },
			want: []string{"x at 0s", "y: flaky at 0s", "y: flaky at 10s", "y at 20s", "timeout at 20.5s"},
		},
		"what is stashed reaches the key twice": {
			do: script{
				"x": set,
				"y": func(ctx *actors.Context) error {
					if ctx.Letter() == nil && again > 0 {
						return nil
					}
					again++
					return ctx.Stash()
				},
				"z": does((*actors.Context).UnstashAll),
			},
			then: func(w *world) {
				again = 0
				w.pass(300 * time.Millisecond)
				w.publish("k", "y")
				w.pass(400 * time.Millisecond)
				w.publish("k", "z")
			},
			want: []string{"x at 0s", "y at 300ms", "z at 700ms", "y at 700ms", "timeout at 1.2s"},
		},
		"passivation ends it": {
			do: script{
				"x": does(func(ctx *actors.Context) {
					ctx.SetReceiveTimeout(half)
					ctx.After(400*time.Millisecond, "t", "bye")
				}),
				"letter bye": does((*actors.Context).Passivate),
			},
			want: []string{"x at 0s", "letter bye at 400ms"},
		},
		"stopping the key ends it": {
			do: script{"x": set},
			then: func(w *world) {
				w.pass(400 * time.Millisecond)
				w.sys.ActorSystem().Root.Stop(w.sys.PID("g0", "in", []byte("k")))
			},
			want: []string{"x at 0s"},
		},
		"a restart by panic ends it": {
			do: script{"x": set, "y": does(func(ctx *actors.Context) {
				if ctx.Attempt() == 1 {
					panic("bug")
				}
			})},
			then: func(w *world) { w.pass(400 * time.Millisecond); w.publish("k", "y") },
			want: []string{"x at 0s", "y at 10.4s"},
		},
		"0 ends it": {
			do:   script{"x": set, "y": does(func(ctx *actors.Context) { ctx.SetReceiveTimeout(0) })},
			then: func(w *world) { w.pass(400 * time.Millisecond); w.publish("k", "y") },
			want: []string{"x at 0s", "y at 400ms"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			again = 0
			inWorld(t, memory.Config{}, func(w *world) {
				w.start(actors.Subscription{
					Policy: constant(3, 10*time.Second), PassivateAfter: -1,
					Actor: w.instances(instance{clock: true, receive: tt.do.follow}),
				})
				dead := w.deadLetters()
				w.publish("k", "x")
				if tt.then != nil {
					synctest.Wait()
					tt.then(w)
				}
				w.pass(time.Hour)
				w.expectReceived(tt.want...)
				if d := dead(); len(d) > 0 {
					t.Fatalf("dead letters: %v", d)
				}
				if _, timers := actors.Residents(w.sys); timers != 0 {
					t.Fatalf("%d timers are left", timers)
				}
			})
		})
	}
}

// Actors without a handler for the receive timeout are not troubled by it.
func TestReceiveTimeoutNeedsNoHandler(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		a := actors.PerKey(func(string) *struct{} { return &struct{}{} })
		actors.On(a, "text", func(_ *struct{}, ctx *actors.Context, s string) error {
			ctx.SetReceiveTimeout(time.Second)
			_, err := ctx.Spawn(shortLived(time.Millisecond), "c")
			return err
		})
		core, logs := observer.New(zap.InfoLevel)
		w.startWith(actors.Config{Logger: zap.New(core)}, actors.Subscription{Actor: a})
		w.publish("k", `"x"`)
		w.pass(time.Minute)
		if logs.Len() != 0 {
			t.Fatalf("logged: %v", logs.All())
		}
	})
}

// Ten thousand keys that set and cancel at random: no race, no timer left, and
// each letter comes from a timer that was set and not cancelled.
func TestManyKeysSetAndCancelTimers(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 4}, func(w *world) {
		const keys, rounds = 10_000, 4
		type key struct{ set, fired, cancelled map[int]bool }
		a := actors.PerKey(func(string) *key {
			return &key{set: map[int]bool{}, fired: map[int]bool{}, cancelled: map[int]bool{}}
		})
		actors.On(a, "round", func(k *key, ctx *actors.Context, round int) error {
			k.set[round] = true
			ctx.After(time.Duration(rand.IntN(20))*time.Millisecond, fmt.Sprint(round), fired(round))
			ctx.SetReceiveTimeout(time.Duration(rand.IntN(20)) * time.Millisecond)
			if rand.IntN(2) == 0 {
				old := rand.IntN(round + 1)
				ctx.CancelTimer(fmt.Sprint(old))
				k.cancelled[old] = true
			}
			return nil
		})
		actors.OnLetter(a, func(k *key, ctx *actors.Context, f fired) error {
			if n := int(f); !k.set[n] || k.fired[n] || k.cancelled[n] {
				t.Errorf("key %s: timer %d fired; set %v, fired %v, cancelled %v", ctx.Key(), n, k.set[n], k.fired[n], k.cancelled[n])
			}
			k.fired[int(f)] = true
			return nil
		})
		w.start(actors.Subscription{Actor: a})
		for round := range rounds {
			batch := make([]brokers.Message, keys)
			for k := range batch {
				batch[k] = brokers.Message{Topic: "in", Key: fmt.Append(nil, k), Payload: fmt.Append(nil, round)}
			}
			w.send(batch...)
			w.pass(10 * time.Millisecond)
		}
		w.pass(time.Second)
		if cells, timers := actors.Residents(w.sys); cells != keys || timers != 0 {
			t.Fatalf("%d keys, %d timers", cells, timers)
		}
		if r := w.stop(); r.Handled != keys*rounds {
			t.Fatalf("report: %v", r)
		}
	})
}

// fired is the letter of a round's timer.
type fired int
