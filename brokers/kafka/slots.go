package kafka

import (
	"context"
	"errors"
	"slices"
	"time"
)

// slot is a partition that the group has given this member, or that its owner here
// has not closed yet.
type slot struct {
	assigned bool       // by the group, at last
	starting bool       // its beginning is being found out
	p        *partition // the epoch that its owner has not closed
}

// held are the partitions that this member says it has, when it joins: those in
// which an epoch is, or is about to begin.
func (s *subscription) held() []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []place
	for at, sl := range s.slots {
		if sl.p == nil || sl.p.ctx.Err() == nil {
			held = append(held, at)
		}
	}
	return held
}

// owns says whether an owner here has not closed what it had.
func (s *subscription) owns() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		if sl.p != nil {
			return true
		}
	}
	return false
}

// ownsLive is owns, but for epochs that have ended.
func (s *subscription) ownsLive() bool {
	_, live := s.ownership()
	return len(live) > 0
}

// ownership is under which membership positions are sent now, and of which epochs.
func (s *subscription) ownership() (identity, []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var owned []*partition
	for _, sl := range s.slots {
		if sl.p != nil && sl.p.ctx.Err() == nil {
			owned = append(owned, sl.p)
		}
	}
	return s.member.identity(), owned
}

// fitting returns those of the places whose topics are subscribed to, and whether
// that is all of them, and something of each topic.
func (s *subscription) fitting(given []place) (places []place, fits bool) {
	without := map[string]bool{}
	for _, topic := range s.cfg.Topics {
		without[topic] = true
	}
	for _, at := range given {
		if slices.Contains(s.cfg.Topics, at.topic) {
			places = append(places, at)
			delete(without, at.topic)
		}
	}
	return places, len(without) == 0 && len(places) == len(given)
}

// adopt takes over what the group gives this member. What it has beyond that its
// owners are to give back.
func (s *subscription) adopt(places []place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, sl := range s.slots {
		if slices.Contains(places, at) {
			continue
		}
		sl.assigned, sl.starting = false, false
		s.revoke(at, sl)
	}
	if s.closed {
		return
	}
	var begin []place
	for _, at := range places {
		sl := s.slots[at]
		if sl == nil {
			sl = &slot{}
			s.slots[at] = sl
		}
		sl.assigned = true
		if sl.p == nil && !sl.starting {
			sl.starting = true
			begin = append(begin, at)
		}
	}
	s.start(begin)
}

// revokeAll has everything given back. It needs the lock.
func (s *subscription) revokeAll() {
	for at, sl := range s.slots {
		sl.assigned, sl.starting = false, false
		s.revoke(at, sl)
	}
}

// revoke has a slot's owner give it back; what has none is given back at once. It
// needs the lock.
func (s *subscription) revoke(at place, sl *slot) {
	p := sl.p
	switch {
	case p == nil:
		delete(s.slots, at)
		s.givenBack()
	case s.offers.Withdraw(p):
		p.end(errReleased)
		delete(s.slots, at)
		s.givenBack()
	case !p.revoked:
		p.revoked = true
		close(p.revoking)
		if p.ctx.Err() == nil {
			p.timer = time.AfterFunc(s.cfg.DrainTimeout, func() { s.background.Go(func() { s.expel(p) }) })
		}
	}
}

// expel ends an epoch that was not given back in time.
func (s *subscription) expel(p *partition) {
	p.feed.stop()
	ctx, cancel := context.WithTimeout(s.ctx, s.b.client.cfg.RequestTimeout)
	defer cancel()
	_ = p.flush(ctx) // what it cannot send is delivered again
	p.end(errNotDrained)
	p.settle()
	wake(s.changed)
	s.member.again()
}

// released notes that an owner has closed its partition.
func (s *subscription) released(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[p.place]
	if sl == nil || sl.p != p {
		return
	}
	p.forgive()
	sl.p = nil
	wake(s.changed)
	if sl.assigned && !s.closed {
		sl.starting = true
		s.start([]place{p.place})
		return
	}
	delete(s.slots, p.place)
	s.givenBack()
}

// givenBack has the group share out what this member has no more. A member that leaves
// has transactions under way elsewhere, which a new generation would abort: then all
// is shared out when it has left. It needs the lock.
func (s *subscription) givenBack() {
	if !s.closed || !s.cfg.Transactional {
		s.member.again()
	}
}

// letGo is released for an owner that does not wait until no acknowledgement is on
// its way.
func (s *subscription) letGo(p *partition) {
	s.background.Go(func() {
		p.settle()
		s.released(p)
	})
}

// loseAll ends all epochs: the group does not know this member any more, or may not.
func (s *subscription) loseAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, sl := range s.slots {
		sl.assigned, sl.starting = false, false
		switch {
		case sl.p == nil:
			delete(s.slots, at)
		case s.offers.Withdraw(sl.p):
			sl.p.end(cause)
			delete(s.slots, at)
		default:
			sl.p.end(cause)
		}
	}
}

// lose ends one epoch, whose partition this member has still.
func (s *subscription) lose(d *feed, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[d.place]
	if sl == nil || sl.p == nil || sl.p.feed != d {
		return
	}
	p := sl.p
	p.end(cause)
	if s.offers.Withdraw(p) {
		sl.p, sl.starting = nil, true
		s.start([]place{d.place})
	}
}

// start begins epochs in slots that are starting. It needs the lock.
func (s *subscription) start(places []place) {
	if len(places) > 0 && s.ctx.Err() == nil {
		s.background.Go(func() { s.startAll(places) })
	}
}

func (s *subscription) startAll(places []place) {
	slices.SortFunc(places, comparePlaces)
	for failures := 0; ; failures++ {
		if places = s.starting(places); len(places) == 0 {
			return
		}
		err := s.open(places)
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		var permanent *permanentError
		if err == nil || s.ctx.Err() != nil {
			return
		} else if errors.As(err, &permanent) {
			s.fail(err)
			return
		}
		if !s.b.client.pause(s.ctx, failures) {
			return
		}
		s.b.client.metadata.refresh(s.ctx, topicsOf(places)...) // what it finds out shows in the next try
		s.b.client.forgetCoordinator(groupCoordinator, s.cfg.Group)
	}
}

// topicsOf are the topics of places that are in order.
func topicsOf(places []place) []string {
	topics := make([]string, len(places))
	for i, p := range places {
		topics[i] = p.topic
	}
	return slices.Compact(topics)
}

// starting are those of places that are to begin still.
func (s *subscription) starting(places []place) []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(places), func(p place) bool {
		sl := s.slots[p]
		return sl == nil || !sl.starting || sl.p != nil
	})
}

// slotsOf are the slots of places now. A partition that is taken away and given back
// has another one.
func (s *subscription) slotsOf(places []place) map[place]*slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := map[place]*slot{}
	for _, at := range places {
		slots[at] = s.slots[at]
	}
	return slots
}

// open begins epochs, and offers them.
func (s *subscription) open(places []place) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.b.client.cfg.RequestTimeout)
	defer cancel()
	begun := s.slotsOf(places)
	transactors, err := s.transactors(ctx, places)
	if err != nil {
		return err
	}
	begin, chosen, err := s.beginnings(ctx, places)
	if err != nil {
		return err
	}
	if len(chosen) > 0 {
		if err := s.commits.choose(ctx, chosen, begin); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range places {
		sl := s.slots[at]
		if sl == nil || sl != begun[at] || !sl.starting || sl.p != nil {
			continue // another member may have had it meanwhile, and moved its position
		}
		sl.starting = false
		sl.p = newPartition(s, at, begin[at], transactors[at])
		s.fetcher.want(sl.p.feed)
		s.offers.Offer(sl.p)
	}
	return nil
}
