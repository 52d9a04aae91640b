package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// door is an actor that stashes all but "open" until it is open, and publishes
// an effect of each message it handles.
type door struct {
	w    *world
	open bool
	also func(*actors.Context) error // done besides, before anything else
}

func (d *door) Receive(ctx *actors.Context) error {
	if d.also != nil {
		if err := d.also(ctx); err != nil {
			return err
		}
	}
	switch what := subject(ctx); {
	case what == "open" || what == "letter open":
		d.open = true
		ctx.UnstashAll()
	case !d.open:
		return ctx.Stash()
	}
	d.w.note("%s", subject(ctx))
	return nil
}

func (w *world) door(also func(*actors.Context) error) actors.Actor {
	return actors.PerKey(func(string) *door { return &door{w: w, also: also} })
}

// What is stashed comes back in its order, before what waits, and is not
// settled until it is handled.
func TestStashKeepsOrderAndSettlesNothing(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "2", "open", "3", "4")
		w.start(actors.Subscription{Actor: w.door(func(ctx *actors.Context) error {
			if subject(ctx) == "open" {
				<-time.After(time.Second)
			}
			return nil
		})})
		w.tell("k", "L")
		if p := w.position("g0"); p != 0 {
			t.Fatalf("position %d while the first is stashed", p)
		}
		w.pass(time.Minute)
		w.expect("open", "1", "2", "3", "4", "letter L")
		if p := w.position("g0"); p != 5 {
			t.Fatalf("position %d", p)
		}
		if r := w.stop(); r.Handled != 5 || r.GivenBack != 0 {
			t.Fatalf("report: %v", r)
		}
	})
}

func TestLettersAreStashedToo(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Actor: w.door(func(ctx *actors.Context) error {
			ctx.Respond("answer to " + subject(ctx))
			return nil
		})})
		w.tell("k", "A")
		w.publish("k", "1")
		synctest.Wait()
		w.tell("k", "B")
		w.expect()
		w.tell("k", "open")
		w.expect("letter open", "letter A", "1", "letter B")
	})
}

// What is stashed when the epoch ends is delivered again.
func TestStashIsGivenBack(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{Actor: w.door(nil)})
		w.publish("k", "1", "2")
		synctest.Wait()
		w.broker.Server().Rebalance("g0")
		w.pass(time.Second)
		w.publish("k", "open")
		w.expect("open", "1", "2")
		if r := w.stop(); r.Handled != 3 || r.GivenBack != 2 {
			t.Fatalf("report: %v", r)
		}
	})
}

// A failed attempt that had stashed is an attempt like any other.
func TestStashIsDroppedWithAnError(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "open", "2")
		w.start(actors.Subscription{Policy: constant(3, time.Second), Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			if subject(ctx) == "1" && ctx.Attempt() == 1 {
				w.must(ctx.Stash())
				return errFlaky
			}
			return nil
		}})})
		w.pass(time.Minute)
		w.expect("k#1 starts", "k#1 1: flaky", "k#1 1", "k#1 open", "k#1 2")
	})
}

// The end of the instance by a panic brings the stash back behind the message
// that panicked, whose verdict concerns that message alone.
func TestPanicBringsTheStashBack(t *testing.T) {
	tests := map[string]struct {
		panics    int
		want      []string
		dead      []string
		published []string
	}{
		"retried": {1, []string{"bad", "open", "1", "2", "3"}, nil, nil},
		"dead-lettered": {
			9,
			[]string{"open", "1", "2", "3"},
			[]string{"bad"},
			nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				policy := constant(3, time.Second)
				policy.DeadLetter = "dead"
				w.publish("k", "1", "2", "bad", "open", "3")
				var bad []int
				w.start(actors.Subscription{Policy: policy, Actor: w.door(func(ctx *actors.Context) error {
					if subject(ctx) != "bad" {
						return nil
					}
					bad = append(bad, ctx.Attempt())
					if ctx.Attempt() <= tt.panics {
						panic("bug")
					}
					w.note("bad")
					return supervision.Discardable(errFlaky, "seen enough")
				})})
				w.pass(time.Minute)
				w.expect(tt.want...)
				if got := w.payloads("dead"); !slices.Equal(got, tt.dead) {
					t.Fatalf("dead letters: %q", got)
				}
				if want := []int{1, 2, 3}[:min(tt.panics+1, 3)]; !slices.Equal(bad, want) {
					t.Fatalf("attempts at the bad one: %v", bad)
				}
				if p := w.position("g0"); p != 5 {
					t.Fatalf("position %d", p)
				}
			})
		})
	}
}

// What comes back is handled before a message behind "open" can fail.
func TestVerdictBehindUnstashHitsItsOwnMessage(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		policy := constant(1, time.Second)
		policy.DeadLetter = "dead"
		w.publish("k", "1", "open", "bad", "2")
		w.start(actors.Subscription{Policy: policy, Actor: w.door(func(ctx *actors.Context) error {
			if subject(ctx) == "bad" {
				return errFlaky
			}
			return nil
		})})
		w.pass(time.Minute)
		w.expect("open", "1", "2")
		if got := w.payloads("dead"); !slices.Equal(got, []string{"bad"}) {
			t.Fatalf("dead letters: %q", got)
		}
	})
}

// A message may publish when it is stashed and when it is handled: both effects
// go out, under ids of their own, and the message is settled after the second.
func TestStashedMessageMayPublish(t *testing.T) {
	for _, unsequenced := range []bool{false, true} {
		inWorld(t, memory.Config{DedupWindow: time.Hour, Unsequenced: unsequenced}, func(w *world) {
			w.start(actors.Subscription{Actor: w.door(func(ctx *actors.Context) error {
				return ctx.Publish("out", []byte("of "+subject(ctx)))
			})})
			w.publish("k", "1")
			w.pass(time.Second)
			if got := w.payloads("out"); !slices.Equal(got, []string{"of 1"}) {
				t.Fatalf("published: %q", got)
			}
			if p := w.position("g0"); p != 0 {
				t.Fatalf("position %d while the message is stashed", p)
			}
			w.publish("k", "open")
			w.pass(time.Second)
			w.expect("open", "1")
			if got := w.payloads("out"); !slices.Equal(got, []string{"of 1", "of open", "of 1"}) {
				t.Fatalf("published: %q", got)
			}
			if p := w.position("g0"); p != 2 {
				t.Fatalf("position %d", p)
			}
			if r := w.stop(); r.Handled != 2 {
				t.Fatalf("report: %v", r)
			}
		})
	}
}

// Stash and UnstashAll in one Receive: what was stashed before comes back, the
// message itself stays.
func TestUnstashAllLeavesWhatIsStashedWithIt(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.publish("k", "1", "swap", "2")
		w.start(actors.Subscription{Actor: w.instances(instance{receive: func(_ *instance, ctx *actors.Context) error {
			switch what := subject(ctx); {
			case what == "swap":
				ctx.UnstashAll()
				return ctx.Stash()
			case what == "1" && len(seenLines(w, "k#1 1")) == 0:
				return ctx.Stash()
			}
			return nil
		}})})
		w.expect("k#1 starts", "k#1 1", "k#1 swap", "k#1 1", "k#1 2")
		if p := w.position("g0"); p != 1 {
			t.Fatalf("position %d", p)
		}
	})
}

func seenLines(w *world, line string) (same []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.log {
		if l == line {
			same = append(same, l)
		}
	}
	return same
}

// A stash is bounded by MaxBacklog; what does not fit fails.
func TestStashFull(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		for n := range 5 {
			w.publish("k", fmt.Sprint(n))
		}
		policy := constant(1, time.Second)
		policy.DeadLetter = "dead"
		w.start(actors.Subscription{Policy: policy, MaxBacklog: 3, Actor: w.door(nil)})
		w.pass(time.Second)
		if got := w.payloads("dead"); !slices.Equal(got, []string{"3", "4"}) {
			t.Fatalf("dead letters: %q", got)
		}
		w.publish("k", "open")
		w.expect("open", "0", "1", "2")
	})
}

// Stashes never fill a partition by themselves, so that what ends them can still
// be read; and a key whose stash is full is named as any parked key is.
func TestStashesLeaveRoomToRead(t *testing.T) {
	for _, cumulative := range []bool{false, true} {
		inWorld(t, memory.Config{CumulativeOnly: cumulative}, func(w *world) {
			w.start(actors.Subscription{
				MaxParked: 10, Policy: constant(1, time.Second),
				Actor: w.door(nil),
			})
			for n := range 12 {
				w.publish(fmt.Sprint("k", n%3), fmt.Sprint(n))
				synctest.Wait()
			}
			w.pass(time.Minute)
			parked := seen[actors.Parked](w)
			if len(parked) == 0 || !errors.Is(parked[0].Failure.Err, actors.ErrStashFull) {
				t.Fatalf("parked: %v", parked)
			}
			overflowed := seen[actors.Overflowed](w)
			if len(overflowed) == 0 || string(overflowed[0].Key) != "k0" && string(overflowed[0].Key) != "k1" && string(overflowed[0].Key) != "k2" {
				t.Fatalf("overflowed: %v", overflowed)
			}
		})
	}
}

// A key with something stashed is not idle.
func TestStashPutsOffPassivation(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: time.Second, Actor: w.door(func(ctx *actors.Context) error {
			if subject(ctx) == "bye" {
				ctx.Passivate()
			}
			return nil
		})})
		w.publish("k", "1", "bye")
		w.pass(time.Minute)
		w.publish("k", "open")
		w.expect("open", "1", "bye")
		w.pass(time.Minute)
		if cells, _ := actors.Residents(w.sys); cells != 0 {
			t.Fatalf("%d cells are left", cells)
		}
	})
}

// The letter of a periodic timer may be stashed like any other.
func TestStashedTimerLetter(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.start(actors.Subscription{PassivateAfter: -1, Actor: w.door(func(ctx *actors.Context) error {
			if subject(ctx) == "1" {
				ctx.Every(time.Second, "t", "tick")
			}
			if subject(ctx) == "stop" {
				ctx.CancelTimer("t")
			}
			return nil
		})})
		w.publish("k", "1")
		w.pass(2500 * time.Millisecond)
		w.publish("k", "open")
		w.expect("open", "1", "letter tick", "letter tick")
		w.pass(2 * time.Second)
		w.expect("letter tick", "letter tick")
		w.publish("k", "stop")
		w.pass(time.Minute)
		w.expect("stop")
		if _, timers := actors.Residents(w.sys); timers != 0 {
			t.Fatalf("%d timers are left", timers)
		}
	})
}
