package memory

import (
	"context"
	"sync"
	"sync/atomic"
)

// changes lets callers wait for a condition on the server. While nobody waits,
// a note costs one load.
type changes struct {
	waiting atomic.Int32
	mu      sync.Mutex
	next    chan struct{} // closed at the next change; nil while nobody waits
}

// note tells those who wait that something has changed.
func (c *changes) note() {
	if c.waiting.Load() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// upcoming returns a channel that is closed at the next change.
func (c *changes) upcoming() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

// Await returns nil as soon as done says true. It asks at first, and again
// after every publish, acknowledgement and change of membership or ownership.
// It returns ctx's error when ctx ends before. done may call the methods of s.
func (s *Server) Await(ctx context.Context, done func() bool) error {
	s.changes.waiting.Add(1)
	defer s.changes.waiting.Add(-1)
	for {
		next := s.changes.upcoming()
		if done() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
