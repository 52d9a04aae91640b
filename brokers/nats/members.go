package nats

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// joinDelay is how long a member that comes listens before it attaches to
// anything.
const joinDelay = 100 * time.Millisecond

// missedIntervals is after how many of them a silent member is not counted.
const missedIntervals = 3

// notice is what members of a group tell each other.
type notice struct {
	ID     string             `json:"id"`
	Topics []string           `json:"topics,omitempty"`
	Owns   map[string][]int32 `json:"owns,omitempty"`
	Waits  map[string][]int32 `json:"waits,omitempty"`
	// Hello asks the others to speak at once. Bye is the last word.
	Hello bool `json:"hello,omitempty"`
	Bye   bool `json:"bye,omitempty"`
}

func (n notice) member() balance.Member {
	return balance.Member{ID: n.ID, Topics: n.Topics, Owns: slotList(n.Owns), Waits: slotList(n.Waits)}
}

func slotList(byTopic map[string][]int32) []balance.Slot {
	var slots []balance.Slot
	for topic, partitions := range byTopic {
		for _, p := range partitions {
			slots = append(slots, balance.Slot{Topic: topic, Partition: p})
		}
	}
	return slots
}

func slotMap(slots []balance.Slot) map[string][]int32 {
	byTopic := map[string][]int32{}
	for _, s := range slots {
		byTopic[s.Topic] = append(byTopic[s.Topic], s.Partition)
	}
	return byTopic
}

// hear is called by the client with another member's notice.
func (s *subscription) hear(m *nats.Msg) {
	var n notice
	if err := json.Unmarshal(m.Data, &n); err != nil || n.ID == s.id || n.ID == "" {
		return // ours, or not of our kind
	}
	s.mu.Lock()
	switch {
	case n.Bye:
		s.tracker.Left(n.ID)
	default:
		s.tracker.Heard(time.Now(), n.member())
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
	body, err := json.Marshal(notice{
		ID: s.id, Topics: s.cfg.Topics, Owns: slotMap(self.Owns), Waits: slotMap(self.Waits), Hello: hello, Bye: bye,
	})
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
	slices.SortFunc(m.Owns, balance.Slot.Compare)
	slices.SortFunc(m.Waits, balance.Slot.Compare)
	return m
}

// news says whether the group is to be told something.
func (s *subscription) news() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := s.selfLocked()
	return s.asked || s.greet || !slices.Equal(self.Owns, s.said.Owns) || !slices.Equal(self.Waits, s.said.Waits)
}
