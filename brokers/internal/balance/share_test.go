package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func slotsOf(topic string, n int) []Slot {
	var slots []Slot
	for i := range int32(n) {
		slots = append(slots, Slot{Topic: topic, Partition: i})
	}
	return slots
}

func names(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("member-%d", i))
	}
	return ids
}

func loads(owners map[Slot]string) map[string]int {
	n := map[string]int{}
	for _, id := range owners {
		n[id]++
	}
	return n
}

func TestShareIsEvenAndComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := slotsOf(rapid.StringN(1, 8, -1).Draw(t, "topic"), rapid.IntRange(0, 40).Draw(t, "partitions"))
		slots = append(slots, slotsOf("another", rapid.IntRange(0, 5).Draw(t, "more"))...)
		members := rapid.SliceOfNDistinct(rapid.StringN(1, 12, -1), 1, 9, rapid.ID[string]).Draw(t, "members")
		owners := Share(slots, members)
		load := loads(owners)
		if len(owners) != len(unique(slots, Slot.Compare)) {
			t.Fatalf("%d of %d slots have an owner", len(owners), len(slots))
		}
		for _, id := range members {
			if n := load[id]; n < len(owners)/len(members) || n > (len(owners)+len(members)-1)/len(members) {
				t.Fatalf("%d slots over %d members: %v", len(owners), len(members), load)
			}
		}
	})
}

func TestShareDependsOnTheSetsOnly(t *testing.T) {
	slots, members := slotsOf("orders", 30), names(7)
	want := Share(slots, members)
	for range 20 {
		rand.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
		rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		got := Share(append(slots, slots[0]), append(members, members[0]))
		for slot, id := range want {
			if got[slot] != id {
				t.Fatalf("slot %v fell to %s, then to %s", slot, id, got[slot])
			}
		}
	}
}

// A member that comes or goes moves little more than its own share.
func TestShareMovesLittle(t *testing.T) {
	const partitions = 60
	slots := slotsOf("orders", partitions)
	for n := 2; n <= 10; n++ {
		before, after := Share(slots, names(n)), Share(slots, names(n+1))
		moved := 0
		for _, slot := range slots {
			if before[slot] != after[slot] {
				moved++
			}
		}
		if own := partitions / (n + 1); moved > 3*own+n {
			t.Errorf("from %d to %d members: %d of %d slots moved, %d are the newcomer's", n, n+1, moved, partitions, own)
		}
	}
}

func TestShareWithoutMembers(t *testing.T) {
	if owners := Share(slotsOf("orders", 3), nil); len(owners) != 0 {
		t.Errorf("slots of no members: %v", owners)
	}
}

func TestScoresSpread(t *testing.T) {
	wins := map[string]int{}
	for _, slot := range slotsOf("orders", 3000) {
		best := slices.MaxFunc(names(3), func(a, b string) int {
			if score(slot, a) > score(slot, b) {
				return 1
			}
			return -1
		})
		wins[best]++
	}
	for id, n := range wins {
		if n < 800 || n > 1200 {
			t.Errorf("%s has the highest score for %d of 3000 slots", id, n)
		}
	}
}
