package sagas

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// commitTimeout bounds one transaction.
	commitTimeout = 30 * time.Second
	// maxGroup is how many transitions share one.
	maxGroup = 200
)

// committer commits one transaction at a time, of all units that came during the
// last one: groups grow with the store's latency, and no unit waits for others.
type committer struct {
	store Store
	seat  Seat
	lost  func() // the seat
	wg    sync.WaitGroup

	mu    sync.Mutex
	queue []pending
	busy  bool
}

type pending struct {
	unit  Unit
	reply chan error
}

// commit returns the unit's verdict when it is stored.
func (c *committer) commit(ctx context.Context, u Unit) error {
	p := pending{u, make(chan error, 1)}
	c.mu.Lock()
	c.queue = append(c.queue, p)
	if !c.busy {
		c.busy = true
		c.wg.Go(c.work)
	}
	c.mu.Unlock()
	select {
	case err := <-p.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *committer) work() {
	for {
		c.mu.Lock()
		n := min(len(c.queue), maxGroup)
		if n == 0 {
			c.busy, c.queue = false, nil
			c.mu.Unlock()
			return
		}
		group := c.queue[:n:n]
		c.queue = c.queue[n:]
		c.mu.Unlock()
		c.try(group)
	}
}

// try commits a group, or, if that fails, its halves: one unit that the store
// cannot take fails alone.
func (c *committer) try(group []pending) {
	units := make([]Unit, len(group))
	for i := range group {
		units[i] = group[i].unit
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	verdicts, err := c.store.Commit(ctx, c.seat, units)
	cancel()
	switch {
	case errors.Is(err, ErrFenced):
		c.lost()
		for i := range group {
			group[i].reply <- err
		}
	case err == nil:
		for i := range group {
			group[i].reply <- verdicts[i]
		}
	case len(group) == 1:
		group[0].reply <- err
	default:
		half := len(group) / 2
		c.try(group[:half])
		c.try(group[half:])
	}
}
