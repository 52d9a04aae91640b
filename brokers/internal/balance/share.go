package balance

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Slot is one partition of one topic.
type Slot struct {
	Topic     string
	Partition int32
}

// Compare orders slots by topic and partition.
func (s Slot) Compare(t Slot) int {
	return cmp.Or(cmp.Compare(s.Topic, t.Topic), cmp.Compare(s.Partition, t.Partition))
}

// claim is how much a member is drawn to a slot.
type claim struct {
	slot   Slot
	member int
	score  uint64
}

// Share divides slots over members, by rendezvous hashing within even shares: no
// member gets two more than another. It depends on nothing else, so members that
// see the same come to the same result.
func Share(slots []Slot, members []string) map[Slot]string {
	slots, members = unique(slots, Slot.Compare), unique(members, cmp.Compare[string])
	owners := make(map[Slot]string, len(slots))
	if len(members) == 0 {
		return owners
	}
	load := make([]int, len(members))
	floor, extra := len(slots)/len(members), len(slots)%len(members)
	for _, c := range rank(slots, members) {
		_, taken := owners[c.slot]
		switch {
		case taken || load[c.member] > floor || load[c.member] == floor && extra == 0:
			continue
		case load[c.member] == floor:
			extra--
		}
		owners[c.slot] = members[c.member]
		load[c.member]++
	}
	return owners
}

// rank lists every claim of a member on a slot, the strongest first.
func rank(slots []Slot, members []string) []claim {
	claims := make([]claim, 0, len(slots)*len(members))
	for _, slot := range slots {
		for i, member := range members {
			claims = append(claims, claim{slot: slot, member: i, score: score(slot, member)})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.score, a.score), a.slot.Compare(b.slot), cmp.Compare(a.member, b.member))
	})
	return claims
}

// score hashes a pair. FNV alone spreads short texts badly in its high bits, so
// its result is mixed.
func score(slot Slot, member string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(member)) // a hash's Write returns no error
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(slot.Topic))
	_, _ = h.Write([]byte{0, byte(slot.Partition), byte(slot.Partition >> 8), byte(slot.Partition >> 16), byte(slot.Partition >> 24)})
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// unique returns a sorted copy without repeats.
func unique[T comparable](list []T, compare func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}
