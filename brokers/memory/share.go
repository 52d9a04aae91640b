package memory

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// share is one partition as one group sees it: how far the group is and, in
// an ordered group, who owns it.
type share struct {
	log *log
	// acknowledged is position, for readers without the lock.
	acknowledged atomic.Int64

	mu       sync.Mutex
	position int64         // the first offset that is not acknowledged
	settled  offsets       // acknowledged above position
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
func (s *share) start(at brokers.StartAt) {
	if s.started {
		return
	}
	s.started = true
	base, end := s.log.bounds()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at == brokers.StartLatest {
		base = end
	}
	s.moveTo(base)
}

// moveTo sets the position, which never goes down, and passes what was settled
// above it. It needs share.mu.
func (s *share) moveTo(o int64) {
	s.position = s.settled.gap(max(o, s.position))
	s.settled.cut(s.position)
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
	s.settled.add(o)
}

// settleTo marks everything below o acknowledged. It needs share.mu.
func (s *share) settleTo(o int64) {
	for i := s.position; s.counts != nil && i < o; i++ {
		delete(s.counts, i)
	}
	s.moveTo(o)
}

// next moves c to the next record that is neither settled nor expired, and
// returns it; ok is false at the end. It needs share.mu and log.mu.
func (s *share) next(c *cursor) (e entry, ok bool) {
	for e, ok = c.peek(); ok; e, ok = c.peek() {
		switch {
		case s.settled.n > 0 && s.settled.has(e.offset):
		case len(s.log.expiry) > 0 && s.log.expired(e.offset, time.Now()):
			s.settle(e.offset)
		default:
			return e, true
		}
		c.next++
	}
	return entry{}, false
}

// delivered counts one more delivery of o and returns the count, 0 if deliveries
// are not counted. It needs share.mu.
func (s *share) delivered(o int64) int {
	if s.counts == nil {
		return 0
	}
	s.counts[o]++
	return s.counts[o]
}

// returned notes that the user of e has closed it. It needs Server.mu.
func (s *share) returned(e *epoch) {
	s.lent = slices.DeleteFunc(s.lent, func(x *epoch) bool { return x == e })
}
