package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// group is a consumer group. All of it needs Server.mu.
type group struct {
	server  *Server
	name    string
	mode    brokers.Mode
	moded   bool            // mode was set by a subscription
	members []*subscription // in the order of joining
	shares  map[slot]*share
	queues  map[string]*queue // by topic; of a competing group
}

// slot names a partition.
type slot struct {
	topic string
	id    int32
}

func (a slot) compare(b slot) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
}

// know makes the group's shares of a topic where they are missing.
func (g *group) know(t *topic) {
	for _, l := range t.logs {
		at := slot{t.name, l.id}
		if g.shares[at] == nil {
			g.shares[at] = newShare(l)
		}
	}
}

// meet is know for a member that subscribes to the topic: the group's position
// is chosen here if there is none.
func (g *group) meet(t *topic, cfg brokers.SubscriptionConfig) {
	g.know(t)
	for _, l := range t.logs {
		g.shares[slot{t.name, l.id}].start(cfg)
	}
}

// join makes s a member and shares the partitions anew.
func (g *group) join(s *subscription) {
	s.joined = true
	g.members = append(g.members, s)
	for _, name := range s.cfg.Topics {
		if t := g.server.topics[name]; t != nil {
			g.meet(t, s.cfg)
		}
	}
	g.rebalance()
}

// part takes s off the members; what it owns is for the caller to end.
func (g *group) part(s *subscription) {
	s.joined = false
	g.members = slices.DeleteFunc(g.members, func(m *subscription) bool { return m == s })
}

// rebalance grants what is free and recalls what another member is to have.
func (g *group) rebalance() {
	defer g.server.changes.note()
	if g.mode == brokers.ModeCompeting {
		g.fill()
		return
	}
	slots := g.slots()
	for i, heir := range g.heirs(slots) {
		s := g.shares[slots[i]]
		s.heir = heir
		if s.owner != nil && s.owner.sub != heir {
			g.recall(s.owner)
		}
		if s.owner == nil && heir != nil {
			g.grant(slots[i], s, heir)
		}
	}
}

func (g *group) slots() []slot {
	return slices.SortedFunc(maps.Keys(g.shares), slot.compare)
}

// heirs says who is to have each partition, nil for nobody.
func (g *group) heirs(slots []slot) []*subscription {
	holders := make([]int, len(slots))
	for i, at := range slots {
		holders[i] = slices.Index(g.members, g.shares[at].holder())
	}
	may := func(i, m int) bool { return g.may(slots[i], g.members[m]) }
	heirs := make([]*subscription, len(slots))
	for i, m := range balance.Even(holders, len(g.members), may) {
		if m >= 0 {
			heirs[i] = g.members[m]
		}
	}
	return heirs
}

// holder is who has the partition, or is to have it next.
func (s *share) holder() *subscription {
	if s.owner != nil && !s.owner.recalled {
		return s.owner.sub
	}
	return s.heir
}

// may says whether m can be given the partition at a slot: its connection must
// not have an ended epoch of it that its user has not closed.
func (g *group) may(at slot, m *subscription) bool {
	if !m.wants(at.topic) {
		return false
	}
	for _, e := range g.shares[at].lent {
		if e.ctx.Err() != nil && e.sub.conn == m.conn {
			return false
		}
	}
	return true
}

// recall wants e back: at once if nobody has accepted it.
func (g *group) recall(e *epoch) {
	if e.sub.withdraw(e) {
		return
	}
	e.recall()
}

func (g *group) grant(at slot, s *share, heir *subscription) {
	number := g.server.epochs.Add(1)
	window := heir.cfg.MaxUnsettled
	if g.server.cfg.CumulativeOnly || heir.cfg.Transactional {
		window = 0 // what is settled above a gap would count
	}
	s.owner = newEpoch(heir, s, at.topic, at.id, number, newStream(s, number, window))
	heir.offer(s.owner)
}

// fill gives every member of a competing group its one partition per topic.
func (g *group) fill() {
	for _, m := range g.members {
		for _, name := range m.cfg.Topics {
			if t := g.server.topics[name]; t != nil && !m.has(name) {
				number := g.server.epochs.Add(1)
				src := newPortion(g.queue(t), number, m.cfg.MaxUnsettled)
				m.offer(newEpoch(m, nil, name, 0, number, src))
			}
		}
	}
}

func (s *subscription) has(topic string) bool {
	return slices.ContainsFunc(s.epochs(), func(e *epoch) bool { return e.topic == topic })
}

func (g *group) queue(t *topic) *queue {
	q := g.queues[t.name]
	if q == nil {
		shares := make([]*share, len(t.logs))
		for i := range t.logs {
			shares[i] = g.shares[slot{t.name, int32(i)}]
		}
		q = newQueue(shares)
		g.queues[t.name] = q
	}
	return q
}

// admit checks that a subscription fits the group; the first one sets the mode.
func (g *group) admit(cfg brokers.SubscriptionConfig) error {
	if !g.moded {
		g.mode, g.moded = cfg.Mode, true
	}
	if g.mode != cfg.Mode {
		return fmt.Errorf("%w: SubscriptionConfig.Mode: group %q is of the other mode", brokers.ErrInvalid, g.name)
	}
	return nil
}

// after returns the member behind m, the first one behind the last.
func (g *group) after(m *subscription) *subscription {
	if len(g.members) == 0 {
		return nil
	}
	return g.members[(slices.Index(g.members, m)+1)%len(g.members)]
}
