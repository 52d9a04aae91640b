package nats

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// joinDelay is how long a member that comes listens before it attaches to
// anything.
const joinDelay = 100 * time.Millisecond

// hear is called by the client with another member's notice.
func (s *subscription) hear(m *nats.Msg) {
	var n balance.Notice
	if err := json.Unmarshal(m.Data, &n); err != nil || n.ID == s.id || n.ID == "" {
		return // ours, or not of our kind
	}
	s.mu.Lock()
	switch {
	case n.Bye:
		s.tracker.Left(n.ID)
	default:
		s.tracker.Heard(time.Now(), n.Member())
	}
	s.asked = s.asked || n.Hello
	s.mu.Unlock()
	s.changed()
}

// speak tells the group what this member has, or that it goes.
func (s *subscription) speak(bye bool) {
	s.mu.Lock()
	self, hello := s.selfLocked(), s.greet && !bye
	s.mu.Unlock()
	notice := self.Notice()
	notice.Hello, notice.Bye = hello, bye
	body, err := json.Marshal(notice)
	if err == nil {
		err = s.b.nc.Publish(membersSubject(s.cfg.Group), body)
	}
	if err != nil {
		s.log.Debug("nats: the group does not hear", zap.Error(err)) // it will, at the next interval
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said, s.asked = self, false
	if hello {
		s.greet = false
	}
}

// selfLocked is what this member has. It needs s.mu.
func (s *subscription) selfLocked() balance.Member {
	m := balance.Member{ID: s.id, Topics: s.cfg.Topics}
	for slot, l := range s.lanes {
		owned, leaving, _ := l.state()
		switch {
		case owned == nil && !leaving:
			m.Waits = append(m.Waits, slot)
		case owned != nil && owned.feed.ctx.Err() == nil:
			m.Owns = append(m.Owns, slot)
		} // else the epoch has ended, and its owner has not closed it
	}
	m.Sort()
	return m
}

// news says whether the group is to be told something.
func (s *subscription) news() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := s.selfLocked()
	return s.asked || s.greet || !self.Has(s.said)
}
