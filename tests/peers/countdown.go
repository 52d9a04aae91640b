package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// countdown is closed when so many messages were handled.
type countdown struct {
	all   int64
	left  atomic.Int64
	first func() // called by who handles the first message; nil for none
	done  chan struct{}
}

func newCountdown(n int, first func()) *countdown {
	c := &countdown{all: int64(n), first: first, done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) handled() { c.handledMany(1) }

// handledMany takes more than there were to be handled, too: a topic may have more.
func (c *countdown) handledMany(n int) {
	left := c.left.Add(-int64(n))
	if c.first != nil && left+int64(n) == c.all {
		c.first()
	}
	if left <= 0 && left+int64(n) > 0 {
		close(c.done)
	}
}

var errStuck = errors.New("not all was handled in time")

const stuckAfter = 5 * time.Minute

func (c *countdown) await() error {
	limit := time.NewTimer(stuckAfter)
	defer limit.Stop()
	select {
	case <-c.done:
		return nil
	case <-limit.C:
		return errStuck
	}
}

// during is a contender of which work is the part that handles messages, until its
// context ends: it is begun and waited for, and cleaned up with what it works on.
func (c *countdown) during(work func(context.Context) error, end func() error) (run, clean func() error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run = func() error {
		go func() { ended <- work(ctx) }()
		return c.await()
	}
	clean = func() error {
		stop()
		return errors.Join(<-ended, end())
	}
	return run, clean
}
