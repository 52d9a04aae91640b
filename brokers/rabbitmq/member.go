package rabbitmq

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// topicInterval is how often a topic that does not exist is looked for.
const topicInterval = 500 * time.Millisecond

// manage keeps the membership: it looks for topics, has the group told what is
// new, and attaches and leaves as the balance wants.
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
		if !time.Now().Before(look) {
			s.findTopics()
			look = time.Now().Add(topicInterval)
		}
		if now := time.Now(); !now.Before(speak) || s.news() {
			signal(s.voice)
			speak = now.Add(s.b.cfg.MemberInterval - rand.N(s.b.cfg.MemberInterval/8+1))
		}
		next := earliest(look, speak, s.decide(time.Now()))
		alarm.Reset(max(time.Until(next), time.Millisecond))
	}
}

// earliest returns the first of times that is not zero; the first one is not.
func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times[1:] {
		if !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// findTopics looks for topics that are not known.
func (s *subscription) findTopics() {
	var fault error
	for _, name := range s.cfg.Topics {
		if s.Partitions(name) > 0 {
			continue
		}
		err := s.join(name)
		switch {
		case err == nil, errors.Is(err, brokers.ErrUnknownTopic):
		case permanent(err):
			s.fail(err)
		default:
			fault = err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.err = fault
	}
}

// join makes the group's queues of a topic, where they are missing.
func (s *subscription) join(topic string) error {
	if q, mapped := s.b.cfg.Queues[topic]; mapped {
		return s.joinQueue(topic, q)
	}
	partitions, err := s.b.topics.own(s.ctx, topic)
	if err != nil {
		return err
	}
	declare := s.b.declareGroup
	if s.competes() {
		declare = s.b.declareCompeting
	}
	err = s.b.control.do(s.ctx, func(ch *amqp.Channel) error { return declare(ch, topic, s.cfg.Group, partitions) })
	switch {
	case hasCode(err, amqp.NotFound): // the exchange, since then
		s.b.topics.forget(topic)
		return fmt.Errorf("%w: %q", brokers.ErrUnknownTopic, topic)
	case err != nil:
		return err
	}
	if err := s.checkLimited(topic, partitions); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[topic] = partitions
	return nil
}

// decide does what the balance wants, and says when to decide again.
func (s *subscription) decide(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := balance.Decision{Hold: s.slotsLocked()}
	if !s.competes() {
		if now.Before(s.listen) {
			return s.listen
		}
		if !s.hears {
			return time.Time{}
		}
		s.tracker.SetSlots(d.Hold)
		s.tracker.SetSelf(s.selfLocked())
		d = s.tracker.Decide(now)
	}
	hold := map[balance.Slot]bool{}
	for _, slot := range d.Hold {
		hold[slot] = true
		if s.consumers[slot] == nil {
			s.attach(slot)
		}
	}
	for slot, c := range s.consumers {
		if !hold[slot] {
			s.leave(c)
		}
	}
	return d.Again
}

func (s *subscription) slotsLocked() []balance.Slot {
	var slots []balance.Slot
	for name, partitions := range s.topics {
		if s.competes() {
			partitions = 1
		}
		for p := range int32(partitions) {
			slots = append(slots, balance.Slot{Topic: name, Partition: p})
		}
	}
	return slots
}

// attach starts a consumer. It needs s.mu.
func (s *subscription) attach(slot balance.Slot) {
	c := newConsumer(s, slot)
	s.consumers[slot] = c
	s.background.Go(func() {
		c.run()
		s.mu.Lock()
		delete(s.consumers, slot)
		s.mu.Unlock()
		signal(s.poke)
	})
	signal(s.poke) // the group is to know
}

// leaveAll has all consumers end.
func (s *subscription) leaveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.consumers {
		s.leave(c)
	}
}

// selfLocked is what this member has. It needs s.mu.
func (s *subscription) selfLocked() balance.Member {
	m := balance.Member{ID: s.id, Topics: s.cfg.Topics}
	for slot, c := range s.consumers {
		owned, leaving, _ := c.state()
		switch {
		case owned == nil && !leaving:
			m.Waits = append(m.Waits, slot)
		case owned != nil && owned.feed.over() == nil:
			m.Owns = append(m.Owns, slot)
		} // else the epoch has ended, and its owner has not closed it
	}
	m.Sort()
	return m
}

// news says whether the group is to be told something.
func (s *subscription) news() bool {
	if s.competes() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked || s.greet || !s.selfLocked().Has(s.said)
}
