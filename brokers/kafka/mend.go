package kafka

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// errNoLeader is why a track is stuck whose partition has no leader for now.
var errNoLeader = errors.New("kafka: partition has no leader")

// stick lets a track wait before it is tried again, for longer each time.
func (s *sender) stick(t *track, err error) {
	t.err = fmt.Errorf("partition %d of topic %q: %w", t.partition, t.topic, err)
	t.due = time.Now().Add(s.c.cfg.backoff(t.failures))
	t.failures++
	t.place = placeStuck
	s.err = t.err
	s.stuck = append(s.stuck, t)
	if !s.mending && !s.closed {
		s.mending = true
		s.running.Go(s.mend)
	}
}

// mend tries again what is stuck, with what the cluster then says of its leaders.
// It runs while something is.
func (s *sender) mend() {
	for {
		s.mu.Lock()
		if len(s.stuck) == 0 || s.closed {
			s.mending = false
			s.mu.Unlock()
			return
		}
		wait := time.Until(s.earliest())
		s.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			continue
		}
		faults := s.c.metadata.refresh(s.ctx, s.stuckTopics()...)
		s.mu.Lock()
		s.retryStuck(faults, time.Now())
		s.unlock()
	}
}

// earliest is when the first that is stuck is due.
func (s *sender) earliest() time.Time {
	due := s.stuck[0].due
	for _, t := range s.stuck {
		if t.due.Before(due) {
			due = t.due
		}
	}
	return due
}

func (s *sender) stuckTopics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, t := range s.stuck {
		if !slices.Contains(names, t.topic) {
			names = append(names, t.topic)
		}
	}
	return names
}

// retryStuck has those tried again that have waited for long enough. Faults are
// what is wrong with their topics.
func (s *sender) retryStuck(faults map[string]error, now time.Time) {
	stuck := s.stuck
	s.stuck = nil
	for _, t := range stuck {
		s.reports = t.purge(s.reports)
		if now.Before(t.due) {
			s.stuck = append(s.stuck, t)
			continue
		}
		s.retryTrack(t, faults[t.topic])
	}
}

func (s *sender) retryTrack(t *track, fault error) {
	t.place = placeIdle
	switch {
	case errors.Is(fault, brokers.ErrUnknownTopic):
		if t.missing++; t.missing >= certain {
			s.reports = t.fail(fault, s.reports)
			return
		}
	case fault != nil && !transient(fault):
		s.reports = t.fail(fault, s.reports)
		return
	case fault == nil:
		t.missing = 0
		t.leader = s.leaderOf(t)
	}
	switch {
	case t.idle():
	case t.leader == noLeader:
		s.stick(t, errNoLeader)
	case fault != nil:
		s.stick(t, fault)
	default:
		s.makeDue(t)
	}
}

// leaderOf is the leader of a track's partition as far as is known.
func (s *sender) leaderOf(t *track) int32 {
	known, _ := s.c.metadata.cached(t.topic)
	if int(t.partition) >= len(known.leaders) {
		return noLeader
	}
	return known.leaders[t.partition]
}
