package memory

import (
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Segments start small, so that a topic of many partitions stays cheap, and
// double up to segmentMax bytes.
const (
	segmentMin = 1 << 10
	segmentMax = 64 << 10
)

// log is one partition: records in the order of their arrival. What was
// appended is never changed or moved, so readers use it without the lock.
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

// segment is a stretch of a log without gaps.
type segment struct {
	first int64
	data  []byte   // grows within its capacity under log.mu
	ends  []uint32 // of each record in data
	rich  bool     // some record has headers or text
	next  *segment
}

func newLog(t *topic, id int32) *log {
	first := &segment{}
	return &log{topic: t, id: id, head: first, tail: first, expiry: map[int64]time.Time{}}
}

// append stores messages at the end and returns the offset of the first.
func (l *log) append(batch []*brokers.Message, now time.Time) (first int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = l.end
	for _, m := range batch {
		l.store(m, now)
	}
	l.retain(l.topic.server.cfg.MaxRetained)
	for _, w := range l.watchers {
		poke(w)
	}
	return first
}

func (l *log) store(m *brokers.Message, now time.Time) {
	s := l.room(recordBound(m))
	from := len(s.data)
	s.data = appendRecord(s.data, m, now)
	s.ends = append(s.ends, uint32(len(s.data)))
	s.rich = s.rich || s.data[from]&(hasHeaders|hasText) != 0
	if m.TTL > 0 {
		l.expiry[l.end] = now.Add(m.TTL)
	}
	l.end++
}

// room returns the last segment, a new one if it has less than n bytes left.
func (l *log) room(n int) *segment {
	if cap(l.tail.data)-len(l.tail.data) < n {
		size := min(max(2*cap(l.tail.data), segmentMin), segmentMax)
		l.tail.next = &segment{first: l.end, data: make([]byte, 0, max(size, n))}
		l.tail = l.tail.next
	}
	return l.tail
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

// since returns the offset of the oldest message that is not older than t, or
// the next to be given.
func (l *log) since(t time.Time) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 256 // of them are decoded at a time
	for c := (cursor{log: l, next: l.base}); ; {
		r := c.peek(most)
		if r.len() == 0 {
			return l.end
		}
		msgs := handOut([]run{r}, 0)
		for i := range msgs {
			if !msgs[i].Time.Before(t) {
				return msgs[i].Offset
			}
		}
		c.next = r.end()
	}
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
