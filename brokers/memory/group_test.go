package memory

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// TestGroupProperties has members come, go, lose their connection, be thrown
// out, and close what is wanted back, in any order. At no time has a partition
// two owners, or a connection two open epochs of one; and once all is closed
// and accepted, every partition has an owner and the members are even.
func TestGroupProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newGroupModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"join":       m.join,
			"leave":      m.leave,
			"accept":     m.accept,
			"close":      m.closeOne,
			"disconnect": func(t *rapid.T) { m.conn(t).Disconnect() },
			"reconnect":  func(t *rapid.T) { m.conn(t).Reconnect() },
			"expel":      m.expel,
			"rebalance":  func(*rapid.T) { m.server.Rebalance("g") },
			"":           m.check,
		})
		m.settle(t)
	})
}

const modelPartitions = 5

// groupModel is a group as its users see it.
type groupModel struct {
	server *Server
	conns  []*Broker
	subs   []*subscription
	owned  []*epoch // accepted and not closed
	named  int
}

func newGroupModel(t *rapid.T) *groupModel {
	m := &groupModel{server: New(Config{Partitions: modelPartitions}).Server()}
	for range 3 {
		m.conns = append(m.conns, m.server.Connect())
	}
	if err := m.conns[0].EnsureTopic(t.Context(), brokers.TopicConfig{Name: "t"}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *groupModel) conn(t *rapid.T) *Broker {
	return rapid.SampledFrom(m.conns).Draw(t, "connection")
}

func (m *groupModel) join(t *rapid.T) {
	if len(m.subs) == 4 {
		return
	}
	m.named++
	sub, err := m.conn(t).Subscribe(t.Context(), brokers.SubscriptionConfig{
		Group: "g", Topics: []string{"t"}, Member: fmt.Sprint("m", m.named),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.subs = append(m.subs, sub.(*subscription))
}

// leave begins a Close and does not wait for its end.
func (m *groupModel) leave(t *rapid.T) {
	if len(m.subs) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.subs)-1).Draw(t, "leaver")
	m.server.leave(m.subs[i])
	m.subs = slices.Delete(m.subs, i, i+1)
}

func (m *groupModel) accept(t *rapid.T) {
	if len(m.subs) > 0 {
		m.acceptOf(t, rapid.SampledFrom(m.subs).Draw(t, "subscription"))
	}
}

// acceptOf accepts what is offered, and says whether anything was.
func (m *groupModel) acceptOf(t *rapid.T, sub *subscription) bool {
	e := m.server.accept(sub)
	if e == nil {
		return false
	}
	for _, old := range m.owned {
		if old.id == e.id && old.sub.conn == e.sub.conn {
			t.Fatalf("partition %d was offered while its epoch %d was open in the same process", e.id, old.number)
		}
		if old.id == e.id && old.number >= e.number {
			t.Fatalf("epoch %d follows %d", e.number, old.number)
		}
	}
	m.owned = append(m.owned, e)
	return true
}

func (m *groupModel) closeOne(t *rapid.T) {
	if len(m.owned) > 0 {
		m.closeAt(t, rapid.IntRange(0, len(m.owned)-1).Draw(t, "epoch"))
	}
}

func (m *groupModel) closeAt(t *rapid.T, i int) {
	if err := m.owned[i].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.owned = slices.Delete(m.owned, i, i+1)
}

func (m *groupModel) expel(t *rapid.T) {
	if members := m.server.Members("g"); len(members) > 0 {
		name := rapid.SampledFrom(members).Draw(t, "member").Name
		if err := m.server.Expel("g", name); err != nil {
			t.Fatal(err)
		}
	}
}

// check finds two owners of one partition.
func (m *groupModel) check(t *rapid.T) {
	owner := map[int32]uint64{}
	for _, e := range m.server.openEpochs() {
		if other, ok := owner[e.id]; ok {
			t.Fatalf("partition %d has two owners, epochs %d and %d", e.id, other, e.number)
		}
		owner[e.id] = e.number
	}
}

// settle closes what is to be closed and accepts what is offered until nothing
// moves, and then wants an even group.
func (m *groupModel) settle(t *rapid.T) {
	for _, c := range m.conns {
		c.Reconnect()
	}
	for moved := true; moved; m.check(t) {
		moved = false
		for i := len(m.owned) - 1; i >= 0; i-- {
			if m.owned[i].stopped(t.Context()) != nil {
				m.closeAt(t, i)
				moved = true
			}
		}
		for _, sub := range m.subs {
			for m.acceptOf(t, sub) {
				moved = true
			}
		}
	}
	if len(m.subs) == 0 {
		return
	}
	load := map[*subscription]int{}
	for _, e := range m.owned {
		load[e.sub]++
	}
	for _, sub := range m.subs {
		if n := load[sub]; n < modelPartitions/len(m.subs) || n > (modelPartitions+len(m.subs)-1)/len(m.subs) {
			t.Fatalf("%d members, one of which has %d of %d partitions", len(m.subs), n, modelPartitions)
		}
	}
	if len(m.owned) != modelPartitions {
		t.Fatalf("%d of %d partitions are owned", len(m.owned), modelPartitions)
	}
}
