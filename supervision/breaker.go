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
	if c.MinPause == 0 {
		c.MinPause = min(defaultMinPause, max(c.MaxPause, 1))
		if c.MaxPause == 0 {
			c.MinPause = defaultMinPause
		}
	}
	if c.MaxPause == 0 {
		c.MaxPause = max(defaultMaxPause, c.MinPause)
	}
	return c
}

func (c BreakerConfig) validate(refuse func(field, format string, args ...any)) {
	d := c.withDefaults()
	if d.Threshold < 0 {
		refuse("Breaker.Threshold", "%d is negative", d.Threshold)
	}
	if d.MinPause < 0 {
		refuse("Breaker.MinPause", "%v is negative", d.MinPause)
	}
	if d.MaxPause < d.MinPause {
		refuse("Breaker.MaxPause", "%v is below MinPause %v", d.MaxPause, d.MinPause)
	}
}

// BreakerState is how a Breaker stands.
type BreakerState uint8

// The states of a Breaker.
const (
	// Closed: messages flow.
	Closed BreakerState = iota
	// Open: nothing starts until the pause is over.
	Open
	// HalfOpen: the pause is over, and one message at a time probes.
	HalfOpen
)

// String returns the state in lower case.
func (s BreakerState) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
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
	// faults counts those in a row while Closed.
	faults int
	// pause is the current or last pause; 0 before the first.
	pause time.Duration
	// changed is when the breaker last opened or closed.
	changed time.Time
	probing bool
}

// NewBreaker returns a closed breaker.
func NewBreaker(cfg BreakerConfig) *Breaker { return &Breaker{cfg: cfg.withDefaults()} }

// State returns how the breaker stands. Open stays until Next finds the pause
// to be over.
func (b *Breaker) State() BreakerState { return b.state }

// Next asks whether a message may start. If not, ask again after wait, or after
// the next Success or Release if that is sooner. A message let through while
// HalfOpen is the probe: it must be followed by Failure, Success or Release.
func (b *Breaker) Next(now time.Time) (allowed bool, wait time.Duration) {
	switch b.state {
	case Open:
		// A clock set back must not lengthen the pause.
		if wait = min(b.pause-now.Sub(b.changed), b.pause); wait > 0 {
			return false, wait
		}
		b.state = HalfOpen
	case HalfOpen:
		if b.probing {
			return false, b.cfg.MinPause
		}
	case Closed:
		return true, 0
	}
	b.probing = true
	return true, 0
}

// Failure reports an infrastructure fault. While Open it changes nothing: it
// comes from a message that started before.
func (b *Breaker) Failure(now time.Time) {
	switch b.state {
	case Closed:
		if b.faults++; b.faults >= b.cfg.Threshold {
			b.open(now)
		}
	case HalfOpen:
		b.open(now)
	case Open:
	}
}

// Success reports a message that ended without an infrastructure fault, also
// if it failed in another way. While Open it changes nothing.
func (b *Breaker) Success(now time.Time) {
	switch b.state {
	case Closed:
		b.faults = 0
	case HalfOpen:
		b.state, b.faults, b.probing, b.changed = Closed, 0, false, now
	case Open:
	}
}

// Release reports that the probe ended with nothing learnt, as when its
// partition was revoked: the next message probes instead.
func (b *Breaker) Release() { b.probing = false }

// open starts a pause, twice as long as the last one unless the breaker has
// been closed for longer than that: messages that need nothing of what is down
// close it in passing, and must not make the pauses short again.
func (b *Breaker) open(now time.Time) {
	recovered := b.state == Closed && now.Sub(b.changed) > b.pause
	switch {
	case b.pause == 0 || recovered:
		b.pause = b.cfg.MinPause
	case b.pause > b.cfg.MaxPause/2:
		b.pause = b.cfg.MaxPause
	default:
		b.pause *= 2
	}
	b.state, b.faults, b.probing, b.changed = Open, 0, false, now
}
