// Package offers is what lies between a driver, which gains and loses partitions,
// and the caller of its Accept.
package offers

import (
	"context"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// Queue has partitions that a member owns and nobody has accepted. Its methods may
// be called at any time, Accept by one caller at a time.
type Queue[P comparable] struct {
	mu      sync.Mutex
	waiting []P
	fatal   error
	closed  bool
	changed chan struct{} // of one
}

// New returns an empty queue.
func New[P comparable]() *Queue[P] { return &Queue[P]{changed: make(chan struct{}, 1)} }

// Accept takes the oldest offer as soon as there is one. Its errors are those of
// [brokers.Subscription].
func (q *Queue[P]) Accept(ctx context.Context) (P, error) {
	for {
		p, ok, err := q.next(ctx)
		if ok || err != nil {
			return p, err
		}
		select {
		case <-q.changed:
		case <-ctx.Done():
		}
	}
}

// next takes the oldest offer, if there is one, or says why there will be none.
func (q *Queue[P]) next(ctx context.Context) (p P, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return p, false, brokers.ErrClosed
	case q.fatal != nil:
		return p, false, q.fatal
	case ctx.Err() != nil:
		return p, false, ctx.Err()
	case len(q.waiting) == 0:
		return p, false, nil
	}
	p = q.waiting[0]
	q.waiting = q.waiting[1:]
	return p, true, nil
}

// Offer has Accept return p.
func (q *Queue[P]) Offer(p P) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, p)
	q.wake()
}

// Withdraw takes an offer back. False means that there is none: p was accepted, or
// never offered.
func (q *Queue[P]) Withdraw(p P) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, p)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// Has says whether p is on offer.
func (q *Queue[P]) Has(p P) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Contains(q.waiting, p)
}

// Fail has Accept return an error from now on. It is false if one does already,
// which remains.
func (q *Queue[P]) Fail(err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fatal != nil {
		return false
	}
	q.fatal = err
	q.wake()
	return true
}

// Err is what Fail was given first.
func (q *Queue[P]) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fatal
}

// Close has Accept return [brokers.ErrClosed] from now on.
func (q *Queue[P]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

// Closed says whether Close was called.
func (q *Queue[P]) Closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// wake needs the lock.
func (q *Queue[P]) wake() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}
