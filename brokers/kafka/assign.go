package kafka

import (
	"cmp"
	"slices"
	"strings"

	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// Assignor is how the partitions of a group are shared out among its members.
type Assignor uint8

const (
	// AssignCooperativeSticky moves as few partitions as evenness allows. What
	// stays where it is is not interrupted by a rebalance.
	AssignCooperativeSticky Assignor = iota
	// AssignRange gives each member a stretch of each topic, so that topics of
	// equal partitioning lie together. All members give everything back, and wait
	// for the slowest, at each rebalance.
	AssignRange
)

// name is what members agree on.
func (a Assignor) name() string {
	if a == AssignRange {
		return "range"
	}
	return "cooperative-sticky"
}

// eager says whether members give everything back before they join anew.
func (a Assignor) eager() bool { return a == AssignRange }

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

// assign shares out the partitions of topics, of which counts says how many there
// are: to each member, by its id, its own.
func (a Assignor) assign(members []groupMember, counts map[string]int) map[string][]place {
	members = slices.SortedFunc(slices.Values(members), func(a, b groupMember) int { return strings.Compare(a.name, b.name) })
	if a == AssignRange {
		return assignRange(members, counts)
	}
	return assignSticky(members, counts)
}

// assignSticky gives each partition to who has it, but for what evenness demands.
// What is to move is given to nobody until who has it has given it back, which
// makes it join anew: that is the cooperative protocol (KIP-429).
func assignSticky(members []groupMember, counts map[string]int) map[string][]place {
	places := placesOf(counts)
	holders := holdersOf(places, members)
	targets := balance.Even(holders, len(members), func(p, m int) bool {
		_, subscribed := slices.BinarySearch(members[m].topics, places[p].topic)
		return subscribed
	})
	given := map[string][]place{}
	for i, m := range targets {
		if m >= 0 && (holders[i] < 0 || holders[i] == m) {
			given[members[m].id] = append(given[members[m].id], places[i])
		}
	}
	return given
}

// placesOf lists all partitions, in order.
func placesOf(counts map[string]int) []place {
	var places []place
	for topic, n := range counts {
		for p := range int32(n) {
			places = append(places, place{topic, p})
		}
	}
	slices.SortFunc(places, comparePlaces)
	return places
}

// holdersOf says which member has each partition, -1 if none has. Of those who
// say so the one of the latest generation is right: the others missed that it was
// taken from them.
func holdersOf(places []place, members []groupMember) []int {
	holders := make([]int, len(places))
	since := make([]int32, len(places))
	for i := range holders {
		holders[i], since[i] = -1, noGeneration
	}
	for m := range members {
		for _, p := range members[m].owned {
			i, ok := slices.BinarySearchFunc(places, p, comparePlaces)
			if ok && (holders[i] < 0 || members[m].generation > since[i]) {
				holders[i], since[i] = m, members[m].generation
			}
		}
	}
	return holders
}

// assignRange is as Kafka's RangeAssignor: of each topic the first members get
// one more where it does not come out even.
func assignRange(members []groupMember, counts map[string]int) map[string][]place {
	given := map[string][]place{}
	for topic, n := range counts {
		var sharing []string
		for i := range members {
			if _, subscribed := slices.BinarySearch(members[i].topics, topic); subscribed {
				sharing = append(sharing, members[i].id)
			}
		}
		next := int32(0)
		for i, id := range sharing {
			share := n / len(sharing)
			if i < n%len(sharing) {
				share++
			}
			for range share {
				given[id] = append(given[id], place{topic, next})
				next++
			}
		}
	}
	return given
}
