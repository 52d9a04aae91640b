package memory

import (
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Segments start small, so that a test with many partitions stays cheap, and
// double until one holds segmentMax messages.
const (
	segmentMin = 16
	segmentMax = 512
)

// log is one partition: messages in the order of their arrival. What was
// appended is never changed or moved, so readers copy it without the lock.
type log struct {
	topic *topic
	id    int32

	mu         sync.Mutex
	head, tail *segment
	base, end  int64               // the oldest offset kept, and the next to be given
	expiry     map[int64]time.Time // of the messages that have a TTL
	watchers   []chan struct{}     // told of arrivals
	shares     []*share            // how far each group is
}

// segment is a run of messages without gaps.
type segment struct {
	first    int64
	messages []brokers.Message // grows within its capacity under log.mu
	next     *segment
}

func newLog(t *topic, id int32) *log {
	first := &segment{messages: make([]brokers.Message, 0, segmentMin)}
	return &log{topic: t, id: id, head: first, tail: first, expiry: map[int64]time.Time{}}
}

// append stores messages at the end, as the log's own.
func (l *log) append(batch []*brokers.Message, now time.Time) (first int64) {
	own := newArena(batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	first = l.end
	for _, m := range batch {
		l.store(own.adopt(*m), now)
	}
	l.retain(l.topic.server.cfg.MaxRetained)
	for _, w := range l.watchers {
		poke(w)
	}
	return first
}

func (l *log) store(m brokers.Message, now time.Time) {
	m.Topic, m.Partition, m.Offset = l.topic.name, l.id, l.end
	m.Epoch, m.DeliveryCount, m.Broker = 0, 0, nil
	if m.Time.IsZero() {
		m.Time = now
	}
	if m.TTL > 0 {
		l.expiry[l.end] = now.Add(m.TTL)
	}
	if len(l.tail.messages) == cap(l.tail.messages) {
		size := min(2*cap(l.tail.messages), segmentMax)
		l.tail.next = &segment{first: l.end, messages: make([]brokers.Message, 0, size)}
		l.tail = l.tail.next
	}
	l.tail.messages = append(l.tail.messages, m)
	l.end++
}

// retain forgets the oldest messages above a number; 0 keeps all.
func (l *log) retain(most int) {
	if most > 0 {
		l.dropBelow(l.end - int64(most))
	}
}

// dropSettled forgets what every group has acknowledged.
func (l *log) dropSettled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	lowest := l.end
	for _, s := range l.shares {
		lowest = min(lowest, s.acknowledged.Load())
	}
	l.dropBelow(lowest)
}

func (l *log) dropBelow(o int64) {
	if o <= l.base {
		return
	}
	for ; len(l.expiry) > 0 && l.base < o; l.base++ {
		delete(l.expiry, l.base)
	}
	l.base = o
	for l.head.next != nil && l.head.next.first <= l.base {
		l.head = l.head.next
	}
}

// expired says whether the message at o has outlived its TTL. It needs log.mu.
func (l *log) expired(o int64, now time.Time) bool {
	end, ok := l.expiry[o]
	return ok && !now.Before(end)
}

// bounds returns the oldest offset kept and the next to be given.
func (l *log) bounds() (base, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base, l.end
}

// watch has c poked after each append.
func (l *log) watch(c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers, c)
}

func (l *log) unwatch(c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = slices.DeleteFunc(l.watchers, func(w chan struct{}) bool { return w == c })
}

// poke leaves a note in c, a channel of capacity 1, that something is new.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// cursor is a place in a log. Its methods need log.mu.
type cursor struct {
	log  *log
	seg  *segment
	next int64
}

// peek returns the message at the cursor, nil at the end.
func (c *cursor) peek() *brokers.Message {
	c.next = max(c.next, c.log.base)
	if c.next >= c.log.end {
		return nil
	}
	if c.seg == nil || c.seg.first < c.log.head.first {
		c.seg = c.log.head
	}
	for c.next >= c.seg.first+int64(len(c.seg.messages)) {
		c.seg = c.seg.next
	}
	return &c.seg.messages[c.next-c.seg.first]
}
