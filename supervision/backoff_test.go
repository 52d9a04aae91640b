package supervision_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/supervision"
)

func drawDuration(t *rapid.T, label string) time.Duration {
	return time.Duration(rapid.Int64().Draw(t, label))
}

// drawBackoff draws any back-off, senseless ones included.
func drawBackoff(t *rapid.T) supervision.Backoff {
	base, longest := drawDuration(t, "base"), drawDuration(t, "max")
	return rapid.SampledFrom([]supervision.Backoff{
		supervision.Constant(base),
		supervision.Exponential(base, longest),
		supervision.DecorrelatedJitter(base, longest),
	}).Draw(t, "back-off")
}

func TestDelaysStayInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBackoff(t)
		attempt, seed := rapid.Int().Draw(t, "attempt"), rapid.Uint64().Draw(t, "seed")
		delay := b.Delay(attempt, seed)
		if delay < 0 || delay > b.Max() {
			t.Fatalf("%v, want 0 to %v", delay, b.Max())
		}
		if again := b.Delay(attempt, seed); again != delay {
			t.Fatalf("first %v, then %v", delay, again)
		}
	})
}

// Exponential lies between half and all of a bound that doubles up to max.
func TestExponentialBoundDoubles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "base"))
		longest := time.Duration(rapid.Int64Range(int64(base), math.MaxInt64).Draw(t, "max"))
		seed := rapid.Uint64().Draw(t, "seed")
		b := supervision.Exponential(base, longest)
		bound := base
		for attempt := 1; attempt < 70; attempt++ {
			delay := b.Delay(attempt, seed)
			if delay < bound/2 || delay > bound {
				t.Fatalf("attempt %d: %v, want %v to %v", attempt, delay, bound/2, bound)
			}
			if bound > longest/2 {
				bound = longest
			} else {
				bound *= 2
			}
		}
		if bound != longest {
			t.Fatalf("ended at %v, want %v", bound, longest)
		}
	})
}

// DecorrelatedJitter never waits less than base, nor over three times the wait
// before.
func TestDecorrelatedJitterFollowsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "base"))
		longest := time.Duration(rapid.Int64Range(int64(base), int64(24*time.Hour)).Draw(t, "max"))
		seed := rapid.Uint64().Draw(t, "seed")
		b := supervision.DecorrelatedJitter(base, longest)
		last := base
		for attempt := 1; attempt <= 64; attempt++ {
			delay := b.Delay(attempt, seed)
			if delay < base || delay > min(3*last, longest) {
				t.Fatalf("attempt %d: %v, want %v to %v", attempt, delay, base, min(3*last, longest))
			}
			last = delay
		}
	})
}

func TestDecorrelatedJitterReachesItsBounds(t *testing.T) {
	b := supervision.DecorrelatedJitter(time.Second, time.Minute)
	var low, high bool
	for seed := range uint64(1000) {
		delay := b.Delay(1_000_000_000, seed)
		low = low || delay < 5*time.Second
		high = high || delay > 40*time.Second
	}
	if !low || !high {
		t.Errorf("late delays: below 5 s %v, above 40 s %v; want both", low, high)
	}
}

func TestConstant(t *testing.T) {
	b := supervision.Constant(time.Second)
	for _, attempt := range []int{1, 2, math.MaxInt} {
		if got := b.Delay(attempt, uint64(attempt)); got != time.Second {
			t.Errorf("attempt %d: %v", attempt, got)
		}
	}
}
