package nats

import (
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// slots hold the messages that are not confirmed. A slot is used again; its turn
// tells the confirmations of its messages apart.
type slots struct {
	mu   sync.Mutex
	all  []slot
	free []int // indexes of all
}

type slot struct {
	o    *brokers.Outbound // nil in a free one
	turn uint64
	sent time.Time
}

// slotBits of a message's number are its slot, the rest is the turn.
const slotBits = 24

// put gives a message a slot.
func (s *slots) put(o *brokers.Outbound, now time.Time) (number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		s.free = append(s.free, len(s.all))
		s.all = append(s.all, slot{})
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	at := &s.all[i]
	at.o, at.sent = o, now
	at.turn++
	return at.turn<<slotBits | uint64(i)
}

// take takes a message out; nil if it is no longer there.
func (s *slots) take(number uint64) *brokers.Outbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := int(number & (1<<slotBits - 1))
	if i >= len(s.all) || s.all[i].turn != number>>slotBits {
		return nil
	}
	return s.empty(i)
}

// takeOld takes out what was sent until then.
func (s *slots) takeOld(until time.Time) []*brokers.Outbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []*brokers.Outbound
	for i := range s.all {
		if s.all[i].o != nil && !s.all[i].sent.After(until) {
			old = append(old, s.empty(i))
		}
	}
	return old
}

func (s *slots) empty(i int) *brokers.Outbound {
	o := s.all[i].o
	if o != nil {
		s.all[i].o = nil
		s.free = append(s.free, i)
	}
	return o
}
