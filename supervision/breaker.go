package supervision

import "time"

// BreakerConfig paces the pauses for infrastructure faults.
type BreakerConfig struct {
	// Threshold is how many infrastructure faults in a row open the breaker.
	// Defaults to 1: a rule or a mark has already said what the fault is.
	Threshold int
	// MinPause is the first pause. Defaults to 100 ms.
	MinPause time.Duration
	// MaxPause bounds the pauses, which double. Defaults to 30 s.
	MaxPause time.Duration
}

// The defaults of a BreakerConfig.
const (
	defaultThreshold = 1
	defaultMinPause  = 100 * time.Millisecond
	defaultMaxPause  = 30 * time.Second
)

func (c BreakerConfig) withDefaults() BreakerConfig {
	c.Threshold = orDefault(c.Threshold, defaultThreshold)
	if c.MaxPause == 0 {
		c.MaxPause = max(defaultMaxPause, c.MinPause)
	}
	if c.MinPause == 0 {
		c.MinPause = min(defaultMinPause, c.MaxPause)
	}
	return c
}

func (c BreakerConfig) validate(refuse func(field, format string, args ...any)) {
	if c.Threshold < 0 {
		refuse("Breaker.Threshold", "%d is negative", c.Threshold)
	}
	if c.MinPause < 0 {
		refuse("Breaker.MinPause", "%v is negative", c.MinPause)
	}
	if c.MaxPause < 0 {
		refuse("Breaker.MaxPause", "%v is negative", c.MaxPause)
	} else if c.MaxPause != 0 && c.MaxPause < c.MinPause {
		refuse("Breaker.MaxPause", "%v is below MinPause %v", c.MaxPause, c.MinPause)
	}
}

// BreakerState is how a Breaker stands.
type BreakerState uint8

// The states of a Breaker.
const (
	// BreakerClosed: messages flow.
	BreakerClosed BreakerState = iota
	// BreakerOpen: nothing starts until the pause is over.
	BreakerOpen
	// BreakerHalfOpen: the pause is over, and one message at a time probes.
	BreakerHalfOpen
)

// String returns the state in lower case.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return "unknown"
}

// Breaker pauses a subscription for as long as its infrastructure is down, and
// lets one message at a time find out whether it is back. It is a pure state
// machine: the caller brings the clock. It is not safe for concurrent use.
type Breaker struct {
	cfg   BreakerConfig
	state BreakerState
	// faults counts those in a row while closed.
	faults int
	// pause is the current or last pause; 0 before the first.
	pause time.Duration
	// changed is when the breaker last opened or closed.
	changed time.Time
	// probing says that the probe of this half-open phase is out.
	probing bool
}

// NewBreaker returns a closed breaker.
func NewBreaker(cfg BreakerConfig) *Breaker { return &Breaker{cfg: cfg.withDefaults()} }

// State returns how the breaker stands. It stays open until Next finds the
// pause to be over.
func (b *Breaker) State() BreakerState { return b.state }

// Next asks whether a message may start. If not, ask again after wait, or after
// the next Success or Release if that is sooner. The message that it lets
// through while half-open is the probe, and the only one: report what became of
// it with Failure, Success or Release.
func (b *Breaker) Next(now time.Time) (allowed bool, wait time.Duration) {
	switch b.state {
	case BreakerOpen:
		if now.Before(b.changed) {
			b.changed = now // a clock set back must not lengthen the pause
		}
		if wait = b.pause - now.Sub(b.changed); wait > 0 {
			return false, wait
		}
		b.state = BreakerHalfOpen
	case BreakerHalfOpen:
		if b.probing {
			return false, b.cfg.MinPause
		}
	case BreakerClosed:
		return true, 0
	}
	b.probing = true
	return true, 0
}

// Failure reports an infrastructure fault. While open it changes nothing: it
// comes from a message that started before.
func (b *Breaker) Failure(now time.Time) {
	switch b.state {
	case BreakerClosed:
		if b.faults++; b.faults >= b.cfg.Threshold {
			b.open(now)
		}
	case BreakerHalfOpen:
		b.open(now)
	case BreakerOpen:
	}
}

// Success reports a message that ended without an infrastructure fault, also
// if it failed in another way. While open it changes nothing.
func (b *Breaker) Success(now time.Time) {
	switch b.state {
	case BreakerClosed:
		b.faults = 0
	case BreakerHalfOpen:
		b.state, b.faults, b.probing, b.changed = BreakerClosed, 0, false, now
	case BreakerOpen:
	}
}

// Release reports that the probe ended with nothing learnt, as when its
// partition was revoked: the next message probes instead.
func (b *Breaker) Release() { b.probing = false }

// open starts a pause, twice as long as the last one unless the breaker has
// been closed for longer than that: messages that need nothing of what is down
// close it in passing, and must not make the pauses short again.
func (b *Breaker) open(now time.Time) {
	recovered := b.state == BreakerClosed && now.Sub(b.changed) > b.pause
	switch {
	case b.pause == 0 || recovered:
		b.pause = b.cfg.MinPause
	case b.pause > b.cfg.MaxPause/2:
		b.pause = b.cfg.MaxPause
	default:
		b.pause *= 2
	}
	b.state, b.faults, b.probing, b.changed = BreakerOpen, 0, false, now
}
