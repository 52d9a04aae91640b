package kafka

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A group of members that come and go under the cooperative protocol: nobody is
// given what another has, each keeps what evenness lets it keep, and after two
// rounds all is given out evenly.
func TestAssignSticky(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := map[string]int{"a": rapid.IntRange(0, 13).Draw(t, "a"), "b": rapid.IntRange(1, 5).Draw(t, "b")}
		members := map[string]*groupMember{}
		generation := int32(0)
		for step := range rapid.IntRange(1, 6).Draw(t, "steps") {
			if len(members) > 1 && rapid.Bool().Draw(t, "leave") {
				delete(members, rapid.SampledFrom(sortedIDs(members)).Draw(t, "who"))
			} else {
				id := fmt.Sprint("m", step)
				members[id] = &groupMember{id: id, name: id, topics: []string{"a", "b"}, generation: noGeneration}
			}
			for range 2 {
				generation++
				oneRound(t, members, counts, generation)
			}
			total, least, most := 0, 1<<30, 0
			for _, m := range members {
				total += len(m.owned)
				least, most = min(least, len(m.owned)), max(most, len(m.owned))
			}
			if total != counts["a"]+counts["b"] || most-least > 1 {
				t.Fatalf("%d of %d are given out, %d to %d each", total, counts["a"]+counts["b"], least, most)
			}
		}
	})
}

func sortedIDs(members map[string]*groupMember) []string {
	var ids []string
	for id := range members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// oneRound has the group share out once, and members give back what they are not
// given.
func oneRound(t *rapid.T, members map[string]*groupMember, counts map[string]int, generation int32) {
	owners := map[place]string{}
	var list []groupMember
	for _, id := range sortedIDs(members) {
		text, err := decodeSubscription(encodeSubscription(*members[id]))
		if err != nil {
			t.Fatal(err)
		}
		text.id, text.name = id, id
		list = append(list, text)
		for _, p := range members[id].owned {
			owners[p] = id
		}
	}
	for id, places := range AssignCooperativeSticky.assign(list, counts) {
		for _, p := range places {
			if owners[p] != "" && owners[p] != id {
				t.Fatalf("%v is given to %s while %s has it", p, id, owners[p])
			}
		}
	}
	given := AssignCooperativeSticky.assign(list, counts)
	for id, m := range members {
		m.owned, m.generation = given[id], generation
	}
}

// What an earlier generation had does not count against a later one.
func TestAssignStickyOfGenerations(t *testing.T) {
	stale := groupMember{id: "a", name: "a", topics: []string{"t"}, owned: []place{{"t", 0}}, generation: 4}
	now := groupMember{id: "b", name: "b", topics: []string{"t"}, owned: []place{{"t", 0}}, generation: 5}
	got := AssignCooperativeSticky.assign([]groupMember{stale, now}, map[string]int{"t": 1})
	if want := map[string][]place{"b": {{"t", 0}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

func TestAssignRange(t *testing.T) {
	members := []groupMember{
		{id: "2", name: "b", topics: []string{"t", "u"}}, {id: "1", name: "a", topics: []string{"t", "u"}}, {id: "3", name: "c", topics: []string{"t"}},
	}
	got := AssignRange.assign(members, map[string]int{"t": 4, "u": 3})
	for id, want := range map[string][]place{
		"1": {{"t", 0}, {"t", 1}, {"u", 0}, {"u", 1}},
		"2": {{"t", 2}, {"u", 2}},
		"3": {{"t", 3}},
	} {
		slices.SortFunc(got[id], comparePlaces)
		if !slices.Equal(got[id], want) {
			t.Errorf("member %s gets %v; want %v", id, got[id], want)
		}
	}
}

// What other members say may be anything, and is never a panic.
func TestGroupTextOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := groupMember{topics: []string{"t"}, owned: []place{{"t", 1}, {"u", 2}, {"t", 0}}, generation: 7}
		b := encodeSubscription(m)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			b = b[:rapid.IntRange(0, len(b)).Draw(t, "cut")]
		case 1:
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
		case 2:
			b = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		}
		_, _ = decodeSubscription(b)
		_, _ = decodeAssignment(b)
	})
}

func TestAssignmentRoundTrip(t *testing.T) {
	places := []place{{"u", 2}, {"t", 1}, {"t", 0}}
	got, err := decodeAssignment(encodeAssignment(places))
	slices.SortFunc(places, comparePlaces)
	if err != nil || !slices.Equal(got, places) {
		t.Errorf("got %v, %v; want %v", got, err, places)
	}
	if got, err := decodeAssignment(nil); err != nil || got != nil {
		t.Errorf("of nothing: %v, %v; want nothing", got, err)
	}
}
