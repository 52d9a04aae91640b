package memory

import (
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// queue is a topic as a competing group sees it: one line of messages from all
// partitions, which its members take from.
type queue struct {
	mu       sync.Mutex
	shares   []*share // by partition
	cursors  []cursor
	turn     int             // the partition to look at first
	returned []queued        // given back by a member that ended
	members  []chan struct{} // told when something was given back
}

// queued is a message of a queue: a run of one.
type queued struct {
	run
	share *share
}

func newQueue(shares []*share) *queue {
	q := &queue{shares: shares}
	for _, s := range shares {
		q.cursors = append(q.cursors, cursor{log: s.log, next: s.position})
	}
	return q
}

// next takes one message off the queue. It needs queue.mu.
func (q *queue) next() (queued, bool) {
	if len(q.returned) > 0 {
		m := q.returned[0]
		q.returned = q.returned[1:]
		return m, true
	}
	for range q.shares {
		i := q.turn
		q.turn = (q.turn + 1) % len(q.shares)
		if r := q.from(i); r.len() > 0 {
			return queued{run: r, share: q.shares[i]}, true
		}
	}
	return queued{}, false
}

func (q *queue) from(i int) run {
	s := q.shares[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	r := s.next(&q.cursors[i], 1)
	q.cursors[i].next += int64(r.len())
	return r
}

// portion is the source of one member of a competing group. Its offsets count
// what this member was given.
type portion struct {
	queue  *queue
	epoch  uint64
	window int

	// Guarded by queue.mu.
	last  int64            // the last offset given
	floor int64            // all up to here are settled
	out   map[int64]queued // given and not settled
	full  bool
	ended bool
}

func newPortion(q *queue, epoch uint64, window int) *portion {
	return &portion{
		queue: q, epoch: epoch, window: window,
		last: brokers.NoOffset, floor: brokers.NoOffset, out: map[int64]queued{},
	}
}

func (p *portion) take(limit brokers.FetchLimit) []brokers.Message {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	var picked []run
	var deliveries []int
	first := p.last + 1
	for size := 0; len(picked) < limit.Messages && p.hasRoom(); {
		m, ok := p.queue.next()
		if !ok {
			break
		}
		if size += recordSize(m.data); limit.Bytes > 0 && size > limit.Bytes && len(picked) > 0 {
			p.queue.returned = slices.Insert(p.queue.returned, 0, m)
			break
		}
		picked = append(picked, m.run)
		deliveries = p.give(m, deliveries)
	}
	out := handOut(picked, p.epoch)
	for i := range out {
		out[i].Partition, out[i].Offset = 0, first+int64(i)
	}
	for i, n := range deliveries {
		out[i].DeliveryCount = n
	}
	return out
}

func (p *portion) hasRoom() bool {
	p.full = len(p.out) >= p.window
	return !p.full && !p.ended
}

// give notes that this member has m, and appends its count of deliveries.
func (p *portion) give(m queued, deliveries []int) []int {
	p.last++
	p.out[p.last] = m
	m.share.mu.Lock()
	defer m.share.mu.Unlock()
	return m.share.countDeliveries(deliveries, m.run)
}

func (p *portion) settle(a brokers.Ack) (room bool) {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	for upTo := min(a.UpTo, p.last); p.floor < upTo; {
		p.floor++
		p.settleOne(p.floor)
	}
	for _, o := range a.Above {
		p.settleOne(o)
	}
	room = p.full && len(p.out) < p.window
	p.full = p.full && !room
	return room
}

func (p *portion) settleOne(o int64) {
	m, ok := p.out[o]
	if !ok {
		return
	}
	delete(p.out, o)
	m.share.mu.Lock()
	defer m.share.mu.Unlock()
	m.share.settle(m.first)
}

func (p *portion) lag() int64 {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	n := int64(len(p.queue.returned))
	for i := range p.queue.cursors {
		_, end := p.queue.cursors[i].log.bounds()
		n += end - p.queue.cursors[i].next
	}
	return n
}

func (p *portion) watch(c chan struct{}) {
	for _, s := range p.queue.shares {
		s.log.watch(c)
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.queue.members = append(p.queue.members, c)
}

// end gives back what is not settled, in the order in which it was given.
func (p *portion) end(c chan struct{}) {
	for _, s := range p.queue.shares {
		s.log.unwatch(c)
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.ended = true
	p.queue.members = slices.DeleteFunc(p.queue.members, func(m chan struct{}) bool { return m == c })
	for o := p.floor + 1; o <= p.last; o++ {
		if m, ok := p.out[o]; ok {
			p.queue.returned = append(p.queue.returned, m)
		}
	}
	clear(p.out)
	for _, m := range p.queue.members {
		poke(m)
	}
}
