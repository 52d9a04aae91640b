package actors

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/troupe-go/troupe/brokers"
)

// Timeout ends the handler's context after d, with the cause [ErrAttemptTimeout].
// It is supervision.Policy.Timeout for a part of what surrounds the handler.
func Timeout(d time.Duration) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx *Context) error {
			return ctx.limited(d, func() error { return next.Receive(ctx) })
		})
	}
}

// RateLimit has attempts wait until the limiter lets them through, over all keys
// that share the middleware. A key that waits holds its worker; when its context
// ends, the context's error is the attempt's.
func RateLimit(limiter *rate.Limiter) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx *Context) error {
			if err := limiter.Wait(ctx); err != nil {
				return err
			}
			return next.Receive(ctx)
		})
	}
}

// RateLimitPerKey is [RateLimit] with a limiter for each key, whatever topic and
// partition it is in. A key that could use its whole burst again is forgotten.
func RateLimitPerKey(limit rate.Limit, burst int) Middleware {
	limiters := &keyLimiters{limit: limit, burst: burst, keys: make(map[string]*rate.Limiter)}
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx *Context) error {
			if err := limiters.of(ctx.Key()).Wait(ctx); err != nil {
				return err
			}
			return next.Receive(ctx)
		})
	}
}

type keyLimiters struct {
	limit rate.Limit
	burst int

	mu    sync.Mutex
	keys  map[string]*rate.Limiter
	sweep int // the number of keys at which the full ones are forgotten
}

const minSweep = 1024

func (l *keyLimiters) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if k != nil {
		return k
	}
	if len(l.keys) >= max(l.sweep, minSweep) {
		for name, other := range l.keys {
			if other.Tokens() >= float64(l.burst) {
				delete(l.keys, name)
			}
		}
		l.sweep = 2 * len(l.keys)
	}
	k = rate.NewLimiter(l.limit, l.burst)
	l.keys[key] = k
	return k
}

// Deduplicate passes over messages whose id was handled before, by this process
// and within the window: they count as handled. It remembers up to limit ids,
// the latest ones, in memory: it spares work after a rebalance, and is no
// guarantee; that is [Durable]. Messages without an id, and letters, pass.
func Deduplicate(window time.Duration, limit int) Middleware {
	seen := &seenIDs{window: window, limit: limit}
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx *Context) error {
			m := ctx.Event()
			if m == nil || m.ID == "" {
				return next.Receive(ctx)
			}
			id := seenID{ctx.Group(), m.ID}
			if seen.has(id, time.Now()) {
				return nil
			}
			err := next.Receive(ctx)
			if err == nil && !ctx.stashed {
				seen.add(id, time.Now())
			}
			return err
		})
	}
}

type seenID struct{ group, id string }

// seenIDs are two generations of ids: the older one goes when the younger one is
// full or the window has passed, so an id is known for between one and two
// windows, unless there are too many.
type seenIDs struct {
	window time.Duration
	limit  int

	mu         sync.Mutex
	born       time.Time
	young, old map[seenID]time.Time
}

func (s *seenIDs) has(id seenID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.young[id]
	if !ok {
		at, ok = s.old[id]
	}
	return ok && now.Sub(at) < s.window
}

func (s *seenIDs) add(id seenID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= max(1, s.limit/2) || now.Sub(s.born) >= s.window {
		s.young, s.old, s.born = make(map[seenID]time.Time), s.young, now
	}
	s.young[id] = now
}

// Correlation gives messages a correlation id that have none ([Context.CorrelationID]):
// that of a header, if name is one and the message has it, else a new one if
// newID is given.
func Correlation(name string, newID func() string) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx *Context) error {
			if m := ctx.Event(); m == nil || m.CorrelationID == "" {
				ctx.correlation = correlate(m, name, newID)
			}
			return next.Receive(ctx)
		})
	}
}

func correlate(m *brokers.Message, name string, newID func() string) string {
	if m != nil && name != "" {
		if id := m.Headers.Text(name); id != "" {
			return id
		}
	}
	if newID != nil {
		return newID()
	}
	return ""
}
