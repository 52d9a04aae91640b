package memory

import (
	"fmt"
	"math"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// Messages returns what the topic holds, by partition and offset; nil if there
// is no such topic. The messages are the caller's own.
func (s *Server) Messages(topic string) []brokers.Message {
	t := s.topic(topic)
	if t == nil {
		return nil
	}
	var all []run
	for _, l := range t.logs {
		all = append(all, l.snapshot()...)
	}
	return handOut(all, 0)
}

// snapshot returns the records of a log.
func (l *log) snapshot() []run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []run
	c := cursor{log: l}
	for r := c.peek(math.MaxInt); r.len() > 0; r = c.peek(math.MaxInt) {
		all = append(all, r)
		c.next = r.end()
	}
	return all
}

// Partitions returns how many partitions the topic has, 0 if there is none.
func (s *Server) Partitions(topic string) int {
	t := s.topic(topic)
	if t == nil {
		return 0
	}
	return len(t.logs)
}

// Progress is how far a group has come in a partition.
type Progress struct {
	// Position is the low-water mark: the first offset not acknowledged.
	Position int64
	// Settled are the offsets above Position that are acknowledged, ascending.
	Settled []int64
	// End is the offset that the next message will have.
	End int64
}

// Lag is how many messages are not acknowledged.
func (p Progress) Lag() int64 { return p.End - p.Position - int64(len(p.Settled)) }

// Progress returns how far the group has come in a partition. A group that does
// not know the topic is an error.
func (s *Server) Progress(group, topic string, partition int32) (Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil || g.shares[slot{topic, partition}] == nil {
		return Progress{}, fmt.Errorf("%w: group %q does not know partition %d of topic %q",
			brokers.ErrInvalid, group, partition, topic)
	}
	return g.shares[slot{topic, partition}].progress(), nil
}

func (s *share) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, end := s.log.bounds()
	return Progress{Position: s.position, Settled: slices.Collect(s.settled.All()), End: end}
}

// Lag is how many messages of the topic the group has not acknowledged: all of
// them if it does not know the topic.
func (s *Server) Lag(group, topic string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	if t == nil {
		return 0
	}
	var lag int64
	for _, l := range t.logs {
		base, end := l.bounds()
		p := Progress{Position: base, End: end}
		if g := s.groups[group]; g != nil && g.shares[slot{topic, l.id}] != nil {
			p = g.shares[slot{topic, l.id}].progress()
		}
		lag += p.Lag()
	}
	return lag
}

// Member is a live member of a group.
type Member struct {
	// Name is its SubscriptionConfig.Member.
	Name string
	// Partitions are those that it owns, by topic; in a competing group 0.
	Partitions map[string][]int32
}

// Members returns the live members of a group in the order of joining.
func (s *Server) Members(group string) []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return nil
	}
	var members []Member
	for _, sub := range g.members {
		m := Member{Name: sub.cfg.Member, Partitions: map[string][]int32{}}
		for _, e := range sub.epochs() {
			if e.ctx.Err() == nil {
				m.Partitions[e.topic] = append(m.Partitions[e.topic], e.id)
			}
		}
		for _, ids := range m.Partitions {
			slices.Sort(ids)
		}
		members = append(members, m)
	}
	return members
}
