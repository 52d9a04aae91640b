package memory

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

// share is one partition as one group sees it: how far the group is and, in
// an ordered group, who owns it.
type share struct {
	log *log
	// acknowledged is position, for readers without the lock.
	acknowledged atomic.Int64

	mu       sync.Mutex
	position int64         // the first offset that is not acknowledged
	settled  offsets.Set   // acknowledged above position
	counts   map[int64]int // deliveries of what is not acknowledged; nil if not counted

	// Guarded by Server.mu.
	started bool          // position was chosen by a subscription's Start
	owner   *epoch        // who has it now, its end perhaps asked for
	heir    *subscription // who is to have it when its owner has closed it
	lent    []*epoch      // those handed to a user that has not closed them yet
}

func newShare(l *log) *share {
	s := &share{log: l}
	if l.topic.server.cfg.CountDeliveries {
		s.counts = map[int64]int{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.moveTo(l.base)
	l.shares = append(l.shares, s)
	return s
}

// start chooses the position of a group that has none.
func (s *share) start(cfg brokers.SubscriptionConfig) {
	if s.started {
		return
	}
	s.started = true
	at, end := s.log.bounds()
	switch cfg.Start {
	case brokers.StartEarliest:
	case brokers.StartLatest:
		at = end
	case brokers.StartAtTime:
		at = s.log.since(cfg.StartTime)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveTo(at)
}

// moveTo sets the position, which never goes down, and passes what was settled
// above it. It needs share.mu.
func (s *share) moveTo(o int64) {
	s.position = s.settled.Gap(max(o, s.position))
	s.settled.Cut(s.position)
	s.acknowledged.Store(s.position)
}

// settle marks one offset acknowledged. It needs share.mu.
func (s *share) settle(o int64) {
	if o < s.position {
		return
	}
	delete(s.counts, o)
	if o == s.position {
		s.moveTo(o + 1)
		return
	}
	s.settled.Add(o)
}

// settleTo marks everything below o acknowledged. It needs share.mu.
func (s *share) settleTo(o int64) {
	for i := s.position; s.counts != nil && i < o; i++ {
		delete(s.counts, i)
	}
	s.moveTo(o)
}

// next moves c to the next records that are neither settled nor expired, and
// returns most of them at most; none at the end. It needs share.mu and log.mu.
func (s *share) next(c *cursor, most int) run {
	for {
		r := c.peek(most)
		if r.len() == 0 || !s.filters() {
			return r
		}
		n := 0
		for n < r.len() && s.deliverable(r.first+int64(n)) {
			n++
		}
		if n > 0 {
			return r.cut(n)
		}
		c.next++
	}
}

// filters says whether there may be records that are not delivered.
func (s *share) filters() bool { return s.settled.Len() > 0 || len(s.log.expiry) > 0 }

// deliverable says whether the record at o is to be delivered, and settles it
// if it has expired.
func (s *share) deliverable(o int64) bool {
	switch {
	case s.settled.Has(o):
		return false
	case s.log.expired(o, time.Now()):
		s.settle(o)
		return false
	}
	return true
}

// countDeliveries counts one more delivery of each record, and appends the
// counts to b; nothing if deliveries are not counted. It needs share.mu.
func (s *share) countDeliveries(b []int, r run) []int {
	for o := r.first; s.counts != nil && o < r.end(); o++ {
		s.counts[o]++
		b = append(b, s.counts[o])
	}
	return b
}

// returned notes that the user of e has closed it. It needs Server.mu.
func (s *share) returned(e *epoch) {
	s.lent = slices.DeleteFunc(s.lent, func(x *epoch) bool { return x == e })
}
