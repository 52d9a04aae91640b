package nats

import (
	"slices"
	"time"
)

// memory is what an owner that lost its partition knows better than a server
// that lost acknowledgements, or the whole consumer.
type memory struct {
	stream    time.Time // when it was made
	highest   uint64    // the owner had received all up to here
	unsettled []uint64  // of those, in order
}

// settled says whether the owner had a message acknowledged.
func (m *memory) settled(seq uint64) bool {
	if m == nil || seq > m.highest {
		return false
	}
	_, open := slices.BinarySearch(m.unsettled, seq)
	return !open
}

// first is the first message that is not acknowledged.
func (m *memory) first() uint64 {
	if len(m.unsettled) > 0 {
		return m.unsettled[0]
	}
	return m.highest + 1
}

// remember returns what a feed knows, nil if its messages were not in order yet.
func (f *feed) remember() *memory {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.flowing {
		return nil
	}
	m := &memory{stream: f.lane.topic.created, highest: f.highest, unsettled: slices.Collect(f.ledger.unsettled())}
	for i, waiting := 0, f.queue.list(); i < len(waiting); i++ {
		m.unsettled = append(m.unsettled, uint64(waiting[i].Offset))
	}
	return m
}
