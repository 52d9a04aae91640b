package actors

import "github.com/troupe-go/troupe/brokers"

// tracker knows which fetched messages of one epoch are settled, and turns that
// into acknowledgements: the low-water mark, and what lies settled above it. It
// is pure: no clock, no lock, no I/O.
//
// Messages are known by their place in the order of fetching, as offsets have
// gaps (compaction, control records) and say nothing of their number.
type tracker struct {
	// ring holds the messages from the low-water mark on, as offset<<1|settled;
	// its length is a power of two.
	ring []uint64
	// head is the place of the first unsettled message, tail the next free one.
	head, tail uint64

	settledAbove int     // settled, and yet above the low-water mark
	mark         int64   // the low-water mark: all up to here is settled
	acked        int64   // the mark that was last taken
	fresh        []int64 // settled above the mark since the last take
	rejected     []int64 // of those settled since the last take
}

func newTracker() *tracker {
	return &tracker{mark: brokers.NoOffset, acked: brokers.NoOffset}
}

// fetched enters a message and returns its place.
func (t *tracker) fetched(offset int64) (place uint64) {
	if t.tail-t.head == uint64(len(t.ring)) {
		t.grow()
	}
	place = t.tail
	t.ring[place&uint64(len(t.ring)-1)] = uint64(offset) << 1
	t.tail++
	return place
}

func (t *tracker) grow() {
	ring := make([]uint64, max(64, 2*len(t.ring)))
	for i := t.head; i != t.tail; i++ {
		ring[i&uint64(len(ring)-1)] = t.ring[i&uint64(len(t.ring)-1)]
	}
	t.ring = ring
}

// settle marks the message at place settled. It returns false, and changes
// nothing, if it was settled before.
func (t *tracker) settle(place uint64) bool {
	if place < t.head {
		return false
	}
	slot := &t.ring[place&uint64(len(t.ring)-1)]
	if *slot&1 == 1 {
		return false
	}
	*slot |= 1
	if place != t.head {
		t.settledAbove++
		t.fresh = append(t.fresh, int64(*slot>>1))
		return true
	}
	t.advance()
	return true
}

// reject is settle for a message that the broker is to dead-letter.
func (t *tracker) reject(place uint64) bool {
	if !t.settle(place) {
		return false
	}
	t.rejected = append(t.rejected, int64(t.ring[place&uint64(len(t.ring)-1)]>>1))
	return true
}

// advance moves the mark over the settled prefix, whose first message was
// settled just now and never counted as above.
func (t *tracker) advance() {
	mask := uint64(len(t.ring) - 1)
	t.settledAbove++
	for t.head != t.tail && t.ring[t.head&mask]&1 == 1 {
		t.mark = int64(t.ring[t.head&mask] >> 1)
		t.head++
		t.settledAbove--
	}
}

// take returns what is to be acknowledged since the last take; ok is false if
// that is nothing.
func (t *tracker) take() (ack brokers.Ack, ok bool) {
	above := t.fresh[:0]
	for _, offset := range t.fresh {
		if offset > t.mark {
			above = append(above, offset)
		}
	}
	ok = t.mark != t.acked || len(above) > 0
	ack = brokers.Ack{UpTo: t.mark, Rejected: t.rejected}
	t.rejected = nil
	if len(above) > 0 {
		ack.Above, t.fresh = above, nil
	} else {
		t.fresh = t.fresh[:0]
	}
	t.acked = t.mark
	return ack, ok
}

// unsettled counts the messages that were fetched and not settled.
func (t *tracker) unsettled() int { return int(t.tail-t.head) - t.settledAbove }

// gap counts the settled messages above the low-water mark.
func (t *tracker) gap() int { return t.settledAbove }
