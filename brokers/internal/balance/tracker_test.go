package balance

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	ttl      = 6 * time.Second
	failover = 10 * time.Second
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// cluster is a model of a group: the broker's exclusion, and members that speak
// once per round.
type cluster struct {
	now     time.Time
	slots   []Slot
	members map[string]*node
	owner   map[Slot]string
}

type node struct {
	tracker *Tracker
	waits   map[Slot]bool
}

func newCluster(slots []Slot) *cluster {
	return &cluster{now: start, slots: slots, members: map[string]*node{}, owner: map[Slot]string{}}
}

func (c *cluster) join(id string) *node {
	n := &node{
		tracker: New(Config{Self: id, MemberTTL: ttl, FailoverAfter: failover}),
		waits:   map[Slot]bool{},
	}
	n.tracker.SetSlots(c.slots)
	c.members[id] = n
	return n
}

// stop is a clean leave, kill is none.
func (c *cluster) stop(id string) {
	for _, n := range c.members {
		n.tracker.Left(id)
	}
	c.kill(id)
}

func (c *cluster) kill(id string) {
	delete(c.members, id)
	maps.DeleteFunc(c.owner, func(_ Slot, owner string) bool { return owner == id })
}

func (c *cluster) record(id string) Member {
	m := Member{ID: id, Topics: []string{"orders"}}
	for _, slot := range c.slots {
		if c.owner[slot] == id {
			m.Owns = append(m.Owns, slot)
		} else if c.members[id].waits[slot] {
			m.Waits = append(m.Waits, slot)
		}
	}
	return m
}

// round is one second: all speak, decide and act, in any order.
func (c *cluster) round() (moves int) {
	c.now = c.now.Add(time.Second)
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		c.speak(id)
	}
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		moves += c.act(id)
	}
	for _, slot := range c.slots {
		moves += c.grant(slot)
	}
	return moves
}

func (c *cluster) speak(id string) {
	m := c.record(id)
	for other, n := range c.members {
		if other == id {
			n.tracker.SetSelf(m)
		} else {
			n.tracker.Heard(c.now, m)
		}
	}
}

func (c *cluster) act(id string) (moves int) {
	n := c.members[id]
	hold := map[Slot]bool{}
	for _, slot := range n.tracker.Decide(c.now).Hold {
		hold[slot] = true
	}
	for _, slot := range c.slots {
		if c.owner[slot] == id && !hold[slot] {
			delete(c.owner, slot)
			moves++
		}
	}
	n.waits = hold
	return moves
}

// grant is the broker: a slot without an owner goes to one that waits.
func (c *cluster) grant(slot Slot) int {
	if c.owner[slot] != "" {
		return 0
	}
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		if n := c.members[id]; n.waits[slot] {
			c.owner[slot] = id
			return 1
		}
	}
	return 0
}

func (c *cluster) even() bool {
	load := loads(c.owner)
	for id := range c.members {
		if n := load[id]; n < len(c.slots)/len(c.members) || n > (len(c.slots)+len(c.members)-1)/len(c.members) {
			return false
		}
	}
	return len(c.owner) == len(c.slots)
}

// settle runs rounds until shares are even and nothing moves for the time that a
// dead member is believed, and checks that it stays so.
func (c *cluster) settle(t interface{ Fatalf(string, ...any) }, within int) {
	quiet := 0
	for n := 0; quiet < int(ttl/time.Second)+2; n++ {
		if quiet++; c.round() > 0 || !c.even() {
			quiet = 0
		}
		if quiet == 0 && n >= within {
			t.Fatalf("after %d s the shares of %d members are not even, or move: %v", n, len(c.members), loads(c.owner))
		}
	}
	for range 30 {
		if moves := c.round(); moves > 0 {
			t.Fatalf("%d moves after the shares of %d members were even", moves, len(c.members))
		}
	}
}

func TestMembersComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(slotsOf("orders", rapid.IntRange(1, 13).Draw(t, "partitions")))
		next := 0
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			ids := slices.Sorted(maps.Keys(c.members))
			switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case kind <= 1 || len(ids) < 2:
				c.join(fmt.Sprint("m", next))
				next++
			case kind == 2:
				c.stop(rapid.SampledFrom(ids).Draw(t, "stopped"))
			default:
				c.kill(rapid.SampledFrom(ids).Draw(t, "killed"))
			}
			if rapid.Bool().Draw(t, "settles") {
				c.settle(t, 15)
			}
		}
		c.settle(t, 15)
	})
}

// A member that cannot take what falls to it is helped out, and no sooner.
func TestFailover(t *testing.T) {
	c := newCluster(slotsOf("orders", 6))
	c.join("a")
	b := c.join("b")
	c.settle(t, 15)
	var lost Slot
	for _, slot := range c.slots {
		if c.owner[slot] == "b" {
			lost = slot
		}
	}
	// b goes on to live, and to speak, but lets go of one slot.
	delete(c.owner, lost)
	b.tracker.SetSlots(slices.DeleteFunc(slices.Clone(c.slots), func(s Slot) bool { return s == lost }))
	for range 9 {
		c.round()
		if owner := c.owner[lost]; owner != "" {
			t.Fatalf("slot %v went to %s before FailoverAfter", lost, owner)
		}
	}
	for range 4 {
		c.round()
	}
	if c.owner[lost] != "a" {
		t.Fatalf("slot %v has owner %q; want a, after FailoverAfter", lost, c.owner[lost])
	}
	b.tracker.SetSlots(c.slots)
	c.settle(t, 15)
}

// What falls to another member is kept until that one is there for it.
func TestKeepsUntilTheHeirWaits(t *testing.T) {
	slots := slotsOf("orders", 2)
	heirs := Share(slots, []string{"a", "b"})
	tracker := New(Config{Self: "a", MemberTTL: ttl, FailoverAfter: failover})
	tracker.SetSlots(slots)
	tracker.SetSelf(Member{Topics: []string{"orders"}, Owns: slots})
	heir := Member{ID: "b", Topics: []string{"orders"}}
	tracker.Heard(start, heir)
	if got := tracker.Decide(start).Hold; !slices.Equal(got, slots) {
		t.Fatalf("holds %v while the heir does not wait; want %v", got, slots)
	}
	for _, slot := range slots {
		if heirs[slot] == "b" {
			heir.Waits = []Slot{slot}
		}
	}
	tracker.Heard(start, heir)
	if got := tracker.Decide(start).Hold; len(got) != 1 || heirs[got[0]] != "a" {
		t.Fatalf("holds %v when the heir waits; want its own slot only", got)
	}
}

// Two that help out at the same time do not get in each other's way.
func TestBothHelpOut(t *testing.T) {
	c := newCluster(slotsOf("orders", 9))
	for _, id := range []string{"a", "b", "c"} {
		c.join(id)
	}
	c.settle(t, 15)
	var lost Slot
	for _, slot := range c.slots {
		if c.owner[slot] == "c" {
			lost = slot
		}
	}
	delete(c.owner, lost)
	c.members["c"].tracker.SetSlots(slices.DeleteFunc(slices.Clone(c.slots), func(s Slot) bool { return s == lost }))
	for range 14 {
		c.round()
	}
	if c.owner[lost] != "a" && c.owner[lost] != "b" {
		t.Fatalf("slot %v has owner %q; want a or b", lost, c.owner[lost])
	}
	for range 20 {
		if moves := c.round(); moves > 0 {
			t.Fatal("the slot moves on although its heir does not wait for it")
		}
	}
}

// Members that read different topics agree on those they share.
func TestTopicsDiffer(t *testing.T) {
	shared, own := slotsOf("orders", 8), slotsOf("audit", 8)
	a := New(Config{Self: "a", MemberTTL: ttl, FailoverAfter: failover})
	a.SetSlots(append(slices.Clone(shared), own...))
	a.Heard(start, Member{ID: "b", Topics: []string{"orders"}})
	b := New(Config{Self: "b", MemberTTL: ttl, FailoverAfter: failover})
	b.SetSlots(shared)
	b.Heard(start, Member{ID: "a", Topics: []string{"orders", "audit"}})
	all := append(a.Decide(start).Hold, b.Decide(start).Hold...)
	if got := unique(all, Slot.Compare); len(all) != 16 || len(got) != 16 {
		t.Fatalf("a and b hold %v; want each of 16 slots once", all)
	}
	if mine := len(b.Decide(start).Hold); mine != 4 {
		t.Errorf("b holds %d of 8 slots; want 4", mine)
	}
}

func TestDecideAgain(t *testing.T) {
	tracker := New(Config{Self: "a", MemberTTL: ttl, FailoverAfter: failover})
	if again := tracker.Decide(start).Again; !again.IsZero() {
		t.Errorf("alone and without slots, decides again at %v; want never", again)
	}
	tracker.SetSlots(slotsOf("orders", 4))
	tracker.Heard(start, Member{ID: "b", Topics: []string{"orders"}})
	if again := tracker.Decide(start).Again; !again.Equal(start.Add(ttl)) {
		t.Errorf("decides again at %v; want when b's time is over, %v", again, start.Add(ttl))
	}
	if hold := tracker.Decide(start.Add(ttl)).Hold; len(hold) != 4 {
		t.Errorf("holds %v after b's time is over; want all", hold)
	}
}

// A connection that was cut says nothing of the others.
func TestRefresh(t *testing.T) {
	tracker := New(Config{Self: "a", MemberTTL: ttl, FailoverAfter: failover})
	tracker.SetSlots(slotsOf("orders", 4))
	tracker.Heard(start, Member{ID: "b", Topics: []string{"orders"}})
	back := start.Add(time.Hour)
	tracker.Refresh(back)
	if hold := tracker.Decide(back).Hold; len(hold) != 2 {
		t.Errorf("holds %v after an hour of deafness; want its half", hold)
	}
}
