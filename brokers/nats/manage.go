package nats

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// manage keeps the membership: it looks for topics, speaks to the group, and
// attaches and leaves as the balance wants.
func (s *subscription) manage() {
	defer s.leaveAll()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	var look, speak time.Time
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.poke:
		case <-alarm.C:
		}
		now := time.Now()
		if !now.Before(look) {
			look = now.Add(s.findTopics())
		}
		if !now.Before(speak) || s.news() {
			s.speak(false)
			speak = now.Add(s.b.cfg.MemberInterval - rand.N(s.b.cfg.MemberInterval/8+1))
		}
		next := earliest(look, speak, s.decide(time.Now()))
		alarm.Reset(max(time.Until(next), time.Millisecond))
	}
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times[1:] {
		if !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// findTopics looks for topics that are not known, and says when to look again.
func (s *subscription) findTopics() time.Duration {
	var fault error
	for _, name := range s.cfg.Topics {
		if s.Partitions(name) > 0 {
			continue
		}
		t, err := s.b.topics.fetch(s.ctx, name)
		if err == nil {
			err = s.join(t)
		}
		if err != nil && !errors.Is(err, brokers.ErrUnknownTopic) {
			fault = err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.err = fault
	}
	if unanswered(fault) {
		s.b.link.silent(fault)
	}
	return topicInterval
}

// join makes a topic's partitions known. A group that begins with what comes
// begins in all partitions now, attached or not.
func (s *subscription) join(t topic) error {
	if err := s.b.cfg.allows(t); err != nil {
		s.fail(err)
		return err
	}
	if s.cfg.Start == brokers.StartLatest {
		for p := range int32(t.partitions) {
			if _, err := newLane(s, balance.Slot{Topic: t.name, Partition: p}, t).open(s.ctx); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[t.name] = t
	return nil
}

// decide does what the balance wants, and says when to decide again.
func (s *subscription) decide(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.listen) {
		return s.listen
	}
	if s.b.link.isCut() {
		return time.Time{} // nobody can be heard
	}
	s.tracker.SetSlots(s.slotsLocked())
	s.tracker.SetSelf(s.selfLocked())
	d := s.tracker.Decide(now)
	hold := map[balance.Slot]bool{}
	for _, slot := range d.Hold {
		hold[slot] = true
		if s.lanes[slot] == nil {
			s.attach(slot)
		}
	}
	for slot, l := range s.lanes {
		if !hold[slot] {
			s.leave(l)
		}
	}
	return d.Again
}

func (s *subscription) slotsLocked() []balance.Slot {
	var slots []balance.Slot
	for name, t := range s.topics {
		for p := range int32(t.partitions) {
			slots = append(slots, balance.Slot{Topic: name, Partition: p})
		}
	}
	return slots
}

// attach starts a lane. It needs s.mu.
func (s *subscription) attach(slot balance.Slot) {
	l := newLane(s, slot, s.topics[slot.Topic])
	s.lanes[slot] = l
	s.background.Go(func() {
		l.run()
		s.mu.Lock()
		delete(s.lanes, slot)
		s.mu.Unlock()
		s.changed()
	})
	s.changed() // the group is to know
}

// leaveAll has all lanes end.
func (s *subscription) leaveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		s.leave(l)
	}
}
