package brokers

// queue is a queue of messages that are linked in place, so that one can be
// taken out from anywhere at no cost.
type queue struct{ first, last *Outbound }

// link is a message's place in one queue.
type link struct{ prev, next *Outbound }

// linkage says by which of its links a message is in a queue.
type linkage uint8

const (
	inUnsettled linkage = iota // Publisher.waited or unwaited
	inLane                     // Outbound.lane
	inReady                    // Publisher.ready
	linkages
)

// push puts o at the end.
func (q *queue) push(in linkage, o *Outbound) {
	o.links[in] = link{prev: q.last}
	if q.last == nil {
		q.first = o
	} else {
		q.last.links[in].next = o
	}
	q.last = o
}

// remove takes o out, which must be in q.
func (q *queue) remove(in linkage, o *Outbound) {
	k := o.links[in]
	o.links[in] = link{}
	if k.prev == nil {
		q.first = k.next
	} else {
		k.prev.links[in].next = k.next
	}
	if k.next == nil {
		q.last = k.prev
	} else {
		k.next.links[in].prev = k.prev
	}
}
