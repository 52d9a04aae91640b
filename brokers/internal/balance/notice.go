package balance

import "slices"

// MissedIntervals is after how many of the intervals at which members speak a
// silent one is not counted.
const MissedIntervals = 3

// Notice is what members of a group tell each other, in JSON.
type Notice struct {
	ID     string             `json:"id"`
	Topics []string           `json:"topics,omitempty"`
	Owns   map[string][]int32 `json:"owns,omitempty"`
	Waits  map[string][]int32 `json:"waits,omitempty"`
	// Hello asks the others to speak at once. Bye is the last word.
	Hello bool `json:"hello,omitempty"`
	Bye   bool `json:"bye,omitempty"`
}

// Notice is what the member says of itself.
func (m Member) Notice() Notice {
	return Notice{ID: m.ID, Topics: m.Topics, Owns: byTopic(m.Owns), Waits: byTopic(m.Waits)}
}

// Member is who said it.
func (n Notice) Member() Member {
	return Member{ID: n.ID, Topics: n.Topics, Owns: slotList(n.Owns), Waits: slotList(n.Waits)}
}

// Has says whether the member has what other has; both are sorted.
func (m Member) Has(other Member) bool {
	return slices.Equal(m.Owns, other.Owns) && slices.Equal(m.Waits, other.Waits)
}

// Sort puts a member's slots in order.
func (m Member) Sort() {
	slices.SortFunc(m.Owns, Slot.Compare)
	slices.SortFunc(m.Waits, Slot.Compare)
}

func slotList(byTopic map[string][]int32) []Slot {
	var slots []Slot
	for topic, partitions := range byTopic {
		for _, p := range partitions {
			slots = append(slots, Slot{Topic: topic, Partition: p})
		}
	}
	return slots
}

func byTopic(slots []Slot) map[string][]int32 {
	lists := map[string][]int32{}
	for _, s := range slots {
		lists[s.Topic] = append(lists[s.Topic], s.Partition)
	}
	return lists
}
