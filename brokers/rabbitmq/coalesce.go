package rabbitmq

import (
	"context"
	"net"
	"sync"
)

// roomBytes is how much may wait to be written before whoever publishes waits.
const roomBytes = 256 << 10

// coalesced is a network connection whose writes are gathered. The client writes
// once per message; here what comes while a write is under way goes with the
// next. Write never blocks, so that nothing hangs in the client when a server
// that has a memory alarm reads no more: [coalesced.room] is where to wait.
type coalesced struct {
	net.Conn

	mu      sync.Mutex
	pending []byte
	spare   []byte
	err     error
	closed  bool
	emptied chan struct{} // closed when there is room; nil while nobody waits

	kick chan struct{} // of one
	done chan struct{} // closed when the writer has ended
}

func coalesce(nc net.Conn) *coalesced {
	c := &coalesced{Conn: nc, kick: make(chan struct{}, 1), done: make(chan struct{})}
	go c.write()
	return c
}

// Write implements net.Conn. What it returns is the fate of earlier writes.
func (c *coalesced) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	c.pending = append(c.pending, b...)
	select {
	case c.kick <- struct{}{}:
	default:
	}
	return len(b), nil
}

// write is the goroutine that writes, until the connection fails or is closed.
func (c *coalesced) write() {
	defer close(c.done)
	for range c.kick {
		for {
			b := c.take()
			if len(b) == 0 {
				break
			}
			if _, err := c.Conn.Write(b); err != nil {
				c.fail(err)
				return
			}
			c.giveBack(b)
		}
	}
}

// take returns what is to be written, nil if nothing is.
func (c *coalesced) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.pending
	if len(b) == 0 {
		return nil // and keep the memory that is there
	}
	c.pending, c.spare = c.spare[:0], nil
	return b
}

// giveBack keeps the memory of what was written, unless it is much.
func (c *coalesced) giveBack(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cap(b) <= 4*roomBytes {
		c.spare = b[:0]
	}
	c.wake()
}

func (c *coalesced) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.wake()
	_ = c.Conn.Close() // so that the client's reader learns it
}

// wake needs c.mu.
func (c *coalesced) wake() {
	if c.emptied != nil && (len(c.pending) < roomBytes || c.err != nil || c.closed) {
		close(c.emptied)
		c.emptied = nil
	}
}

// room waits until little is to be written. An error is the connection's, or
// ctx's.
func (c *coalesced) room(ctx context.Context) error {
	for {
		wait, err := c.full()
		if wait == nil {
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// full returns what to wait for, nil if there is room or never will be.
func (c *coalesced) full() (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.closed:
		return nil, net.ErrClosed
	case len(c.pending) < roomBytes:
		return nil, nil
	}
	if c.emptied == nil {
		c.emptied = make(chan struct{})
	}
	return c.emptied, nil
}

// Close implements net.Conn. What was not written is lost.
func (c *coalesced) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	if first {
		close(c.kick)
		c.wake()
	}
	c.mu.Unlock()
	err := c.Conn.Close()
	<-c.done
	return err
}
