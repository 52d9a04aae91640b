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
	// maxAtOnce is how many are under way at the most, if the store can: while one
	// waits for the disk, or for what this process has to do, the other is worked on.
	maxAtOnce = 2
	// worthwhile is how many units have the second one begun. A transaction costs the
	// store as much as ten of its units do, so smaller ones lose more than they win.
	worthwhile = 32
)

// committer commits in one transaction all units that came during the last one:
// groups grow with the store's latency, and no unit waits for others. When many
// wait, two are under way. Units of one instance are given one after the other.
type committer struct {
	store  Store
	atOnce int
	seat   Seat
	lost   func() // the seat
	wg     sync.WaitGroup

	mu    sync.Mutex
	queue []pending
	under int // transactions under way
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
	if c.under == 0 || c.under < c.atOnce && len(c.queue) >= worthwhile {
		c.under++
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
	for group := c.take(); group != nil; group = c.take() {
		c.try(group)
	}
}

// take returns the next group; nil if there is none, or too little beside the
// transaction that is under way, which takes it.
func (c *committer) take() []pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), maxGroup)
	if n == 0 || c.under > 1 && n < worthwhile {
		c.under--
		return nil
	}
	group := c.queue[:n:n]
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return group
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
