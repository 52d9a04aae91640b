package memory

import (
	"sync"
	"sync/atomic"
	"time"
)

// stall holds something up: until it is released, or for a time.
type stall struct {
	active atomic.Bool // anything below is set

	mu      sync.Mutex
	holders int
	held    chan struct{} // closed when the last holder released
	delay   time.Duration
}

// state returns a channel that is closed when the stall is released, nil if it
// is not held, and the delay that applies then.
func (s *stall) state() (held <-chan struct{}, delay time.Duration) {
	if !s.active.Load() {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.delay
}

// hold begins to hold up until release is called, which may be repeated.
func (s *stall) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders++; s.holders == 1 {
		s.held = make(chan struct{})
	}
	s.active.Store(true)
	return sync.OnceFunc(s.release)
}

func (s *stall) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders--; s.holders == 0 {
		close(s.held)
		s.held = nil
	}
	s.active.Store(s.holders > 0 || s.delay > 0)
}

func (s *stall) setDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = max(d, 0)
	s.active.Store(s.holders > 0 || s.delay > 0)
}
