package actortest

import (
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// story is what happened in a test, in order. Kits that share a [Broker] share
// its story.
type story struct {
	t    TB
	born time.Time

	mu       sync.Mutex
	entries  []*entry
	grown    chan struct{} // closed when there is more
	messages map[spot]*brokers.Message
}

// entry is one thing that happened.
type entry struct {
	at        time.Duration
	group     string // whose doing it was; "" if nobody's in particular
	key       []byte // of the actor, or of what was published; nil is none
	topic     string
	partition int32
	message   *brokers.Message // what it is about, if known
	what      any              // nil while it is not known whether it happens
	taken     bool             // by an expectation
}

// What happens, beside the events of package actors, log lines and letters.
type (
	published   struct{}
	unpublished struct{ err error }
	redelivered struct{}
	acked       struct{}
	crashed     struct{}
	ended       struct {
		report actors.Report
		err    error
	}
)

// spot is where a message lies, as a group sees it.
type spot struct {
	group, topic string
	partition    int32
	offset       int64
}

func newStory(t TB) *story {
	return &story{
		t: t, born: time.Now(),
		grown: make(chan struct{}), messages: make(map[spot]*brokers.Message),
	}
}

// add appends to the story.
func (s *story) add(e entry) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.at = time.Since(s.born)
	s.entries = append(s.entries, &e)
	s.wake()
	return &e
}

// change lets f complete an entry.
func (s *story) change(e *entry, f func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(e)
	s.wake()
}

func (s *story) wake() {
	close(s.grown)
	s.grown = make(chan struct{})
}

// publishing enters that m is on its way, at the place where it was sent, and
// returns how to say what became of it.
func (s *story) publishing(m *brokers.Message) func(brokers.Receipt, error) {
	copied := m.Clone()
	e := s.add(entry{topic: m.Topic, key: copied.Key, message: &copied})
	return func(r brokers.Receipt, err error) {
		s.change(e, func(e *entry) {
			if err != nil {
				e.what = unpublished{err}
				return
			}
			e.what, e.partition = published{}, r.Partition
			copied.Partition, copied.Offset = r.Partition, r.Offset
		})
	}
}

// deliver remembers a message that was delivered to a group, and says whether it
// was so before.
func (s *story) deliver(group string, m *brokers.Message) (again bool) {
	copied := m.Clone()
	at := spot{group, m.Topic, m.Partition, m.Offset}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, again = s.messages[at]
	s.messages[at] = &copied
	return again
}

// delivered is what was delivered to a group from a place, nil if nothing.
func (s *story) delivered(at spot) *brokers.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[at]
}

// next waits for the first entry of a kind that no expectation has taken, and
// takes it; nil if there is none within limit. Then all is at rest.
func (s *story) next(limit time.Duration, kind func(*entry) bool) *entry {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for last := false; ; {
		e, grown := s.take(kind)
		if e != nil || last {
			synctest.Wait()
			return e
		}
		select {
		case <-grown:
		case <-timer.C:
			synctest.Wait()
			last = true
		}
	}
}

func (s *story) take(kind func(*entry) bool) (*entry, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if !e.taken && e.what != nil && kind(e) {
			e.taken = true
			return e, s.grown
		}
	}
	return nil, s.grown
}

// all returns the entries from the i-th on that have happened.
func (s *story) all(from int, kind func(*entry) bool) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.entries[from:]), func(e *entry) bool { return e.what == nil || !kind(e) })
}

func (s *story) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// pass lets virtual time go by, and waits until all is at rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
