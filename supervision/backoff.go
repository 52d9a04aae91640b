package supervision

import (
	"fmt"
	"time"
)

// Backoff is how long to wait before the next attempt.
//
// Implementations are pure and may be called concurrently. Delay is never
// negative and never above Max.
type Backoff interface {
	// Delay is the wait after the attempt of that number, from 1. Equal
	// attempt and seed give equal delays; different seeds spread them.
	Delay(attempt int, seed uint64) time.Duration
	// Max is the longest Delay. Parked messages are tried again at this pace.
	Max() time.Duration
}

// Constant waits d each time, without jitter.
func Constant(d time.Duration) Backoff { return constant(d) }

type constant time.Duration

func (c constant) Delay(int, uint64) time.Duration { return c.Max() }
func (c constant) Max() time.Duration              { return max(0, time.Duration(c)) }

func (c constant) validate() error {
	if c < 0 {
		return fmt.Errorf("Constant(%v) is negative", time.Duration(c))
	}
	return nil
}

// Exponential doubles the wait from base to max, with equal jitter: half of it
// is fixed and half is random, so the wait after attempt n lies between half
// and all of min(max, base * 2^(n-1)).
//
// The jitter is that of Marc Brooker, "Exponential Backoff And Jitter", AWS
// Architecture Blog, 2015. His full jitter spreads competing clients best, but
// may wait next to nothing, and then a few attempts are spent within an
// instant; the retries of a key compete with nobody, so here the floor matters
// more.
func Exponential(base, max time.Duration) Backoff { return exponential{base, max} }

type exponential struct{ base, max time.Duration }

func (e exponential) Max() time.Duration { return max(0, e.max) }

func (e exponential) Delay(attempt int, seed uint64) time.Duration {
	bound := e.bound(attempt)
	fixed := bound / 2
	return fixed + fraction(bound-fixed, seed, attempt)
}

// bound is min(max, base * 2^(attempt-1)), without overflow.
func (e exponential) bound(attempt int) time.Duration {
	base, longest := max(0, e.base), e.Max()
	doublings := max(0, attempt-1)
	if base > 0 && (doublings >= 63 || base > longest>>doublings) {
		return longest
	}
	return min(base<<doublings, longest)
}

func (e exponential) validate() error { return validateRange("Exponential", e.base, e.max) }

// DecorrelatedJitter draws each wait between base and three times the one
// before it, at most max: the third form of "Exponential Backoff And Jitter"
// (see [Exponential]). It spreads more than Exponential does and grows less
// evenly.
//
// The earlier waits are drawn again from the seed rather than remembered; of a
// long series only the last 64 are, which by then changes nothing that can be
// told apart.
func DecorrelatedJitter(base, max time.Duration) Backoff { return decorrelated{base, max} }

type decorrelated struct{ base, max time.Duration }

// decorrelatedSteps bounds the work for huge attempts.
const decorrelatedSteps = 64

func (d decorrelated) Max() time.Duration { return max(0, d.max) }

func (d decorrelated) Delay(attempt int, seed uint64) time.Duration {
	longest := d.Max()
	base := min(max(0, d.base), longest)
	delay := base
	for i := max(1, attempt-decorrelatedSteps+1); ; i++ {
		upper := longest
		if delay <= longest/3 {
			upper = max(base, 3*delay)
		}
		delay = base + fraction(upper-base, seed, i)
		if i >= attempt {
			return delay
		}
	}
}

func (d decorrelated) validate() error { return validateRange("DecorrelatedJitter", d.base, d.max) }

func validateRange(name string, base, longest time.Duration) error {
	switch {
	case base <= 0:
		return fmt.Errorf("%s: base %v is not positive", name, base)
	case longest < base:
		return fmt.Errorf("%s: max %v is below base %v", name, longest, base)
	}
	return nil
}

// fraction is a share of d in [0, d], drawn from seed and step.
func fraction(d time.Duration, seed uint64, step int) time.Duration {
	u := float64(mix(seed+uint64(step)*0x9e3779b97f4a7c15)>>11) / (1 << 53)
	return min(time.Duration(float64(d)*u), d)
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): it makes
// successive steps of one seed look unrelated.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
