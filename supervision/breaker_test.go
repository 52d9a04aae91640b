package supervision_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/supervision"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// breakerRun drives a breaker through a script and checks every answer.
type breakerRun struct {
	*testing.T
	breaker *supervision.Breaker
	now     time.Time
}

func runBreaker(t *testing.T, cfg supervision.BreakerConfig) *breakerRun {
	return &breakerRun{T: t, breaker: supervision.NewBreaker(cfg), now: start}
}

func (r *breakerRun) fail()                { r.breaker.Failure(r.now) }
func (r *breakerRun) succeed()             { r.breaker.Success(r.now) }
func (r *breakerRun) pass(d time.Duration) { r.now = r.now.Add(d) }

// allow wants the next message to start.
func (r *breakerRun) allow() {
	r.Helper()
	if allowed, wait := r.breaker.Next(r.now); !allowed || wait != 0 {
		r.Fatalf("%v: refused for %v", r.breaker.State(), wait)
	}
}

// refuse wants the next message to wait.
func (r *breakerRun) refuse(want time.Duration) {
	r.Helper()
	if allowed, wait := r.breaker.Next(r.now); allowed || wait != want {
		r.Fatalf("%v: allowed %v, wait %v, want a wait of %v", r.breaker.State(), allowed, wait, want)
	}
}

func (r *breakerRun) state(want supervision.BreakerState) {
	r.Helper()
	if got := r.breaker.State(); got != want {
		r.Fatalf("state %v, want %v", got, want)
	}
}

func TestBreakerPausesGrowUntilItRecovers(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{MinPause: time.Second, MaxPause: 5 * time.Second})
	r.allow()
	for _, pause := range []time.Duration{1, 2, 4, 5, 5} {
		pause *= time.Second
		r.fail()
		r.state(supervision.BreakerOpen)
		r.refuse(pause)
		r.pass(pause - 1)
		r.refuse(1)
		r.pass(1)
		r.allow()
		r.state(supervision.BreakerHalfOpen)
	}
	r.succeed()
	r.state(supervision.BreakerClosed)
	r.allow()
	r.allow()

	r.pass(time.Minute)
	r.fail()
	r.refuse(time.Second)
}

func TestBreakerThreshold(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{Threshold: 3})
	r.fail()
	r.fail()
	r.succeed()
	r.fail()
	r.fail()
	r.state(supervision.BreakerClosed)
	r.fail()
	r.state(supervision.BreakerOpen)
}

func TestBreakerLetsOneProbeOut(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{MinPause: time.Second})
	r.fail()
	r.pass(time.Second)
	r.allow()
	r.refuse(time.Second)
	r.pass(time.Hour)
	r.refuse(time.Second)

	r.breaker.Release()
	r.state(supervision.BreakerHalfOpen)
	r.allow()
	r.refuse(time.Second)
}

func TestBreakerIgnoresWhatStartedBeforeItOpened(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{MinPause: time.Second})
	r.fail()
	r.pass(time.Second / 2)
	r.fail()
	r.succeed()
	r.refuse(time.Second / 2)
}

// A message that needs nothing of what is down closes the breaker in passing;
// the pause must not begin again at the shortest.
func TestBreakerThatFlapsKeepsItsPause(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{MinPause: time.Second, MaxPause: time.Minute})
	r.fail()
	r.pass(time.Second)
	r.allow()
	r.succeed()
	r.pass(time.Second)
	r.fail()
	r.refuse(2 * time.Second)

	r.pass(2 * time.Second)
	r.allow()
	r.succeed()
	r.pass(2*time.Second + 1)
	r.fail()
	r.refuse(time.Second)
}

func TestBreakerWithItsClockSetBack(t *testing.T) {
	r := runBreaker(t, supervision.BreakerConfig{MinPause: time.Second})
	r.fail()
	r.pass(-24 * time.Hour)
	r.refuse(time.Second)
	r.pass(time.Second)
	r.allow()
}

func TestBreakerDefaults(t *testing.T) {
	tests := []struct {
		cfg         supervision.BreakerConfig
		first, last time.Duration
	}{
		{supervision.BreakerConfig{}, 100 * time.Millisecond, 30 * time.Second},
		{supervision.BreakerConfig{MinPause: time.Hour}, time.Hour, time.Hour},
		{supervision.BreakerConfig{MaxPause: time.Millisecond}, time.Millisecond, time.Millisecond},
	}
	for _, test := range tests {
		r := runBreaker(t, test.cfg)
		r.fail()
		r.refuse(test.first)
		for range 20 {
			r.pass(test.last)
			r.allow()
			r.fail()
		}
		r.refuse(test.last)
	}
}

func TestBreakerStateText(t *testing.T) {
	for state, want := range map[supervision.BreakerState]string{
		supervision.BreakerClosed:   "closed",
		supervision.BreakerOpen:     "open",
		supervision.BreakerHalfOpen: "half-open",
		99:                          "unknown",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d: %q, want %q", state, got, want)
		}
	}
}

// Whatever happens and whatever the clock does: a refusal names a wait within
// MaxPause, no half-open phase lets two probes out, and a breaker whose probe
// was reported starts something again after the wait it named.
func TestBreakerIsSafeAndLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := supervision.BreakerConfig{
			Threshold: rapid.IntRange(1, 3).Draw(t, "threshold"),
			MinPause:  time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "min")),
			MaxPause:  time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Minute)).Draw(t, "max")),
		}
		b, now, probes := supervision.NewBreaker(cfg), start, 0
		next := func() (bool, time.Duration) {
			allowed, wait := b.Next(now)
			if allowed && b.State() == supervision.BreakerHalfOpen {
				probes++
			}
			return allowed, wait
		}
		t.Repeat(map[string]func(*rapid.T){
			"failure": func(*rapid.T) { b.Failure(now); probes = 0 },
			"success": func(*rapid.T) { b.Success(now); probes = 0 },
			"release": func(*rapid.T) { b.Release(); probes = 0 },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(2*time.Minute)).Draw(t, "d")))
			},
			"next": func(t *rapid.T) {
				if allowed, wait := next(); allowed != (wait == 0) || wait < 0 || wait > cfg.MaxPause {
					t.Fatalf("allowed %v, wait %v", allowed, wait)
				}
			},
			"liveness": func(t *rapid.T) {
				b.Release()
				probes = 0
				allowed, wait := next()
				if allowed {
					return
				}
				now = now.Add(wait)
				if allowed, wait := next(); !allowed {
					t.Fatalf("refused for another %v", wait)
				}
			},
			"": func(t *rapid.T) {
				if probes > 1 {
					t.Fatalf("%d probes", probes)
				}
			},
		})
	})
}
