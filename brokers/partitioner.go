package brokers

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Partitioner chooses the partition of a message among n, which is at least 1.
// It is called in the goroutine that publishes, concurrently. An error refuses
// the message for good, and so does a partition outside of 0 to n-1.
type Partitioner interface {
	Partition(m *Message, n int) (int32, error)
}

// ByKey returns a partitioner that puts messages of one key into one partition,
// the same as Kafka's own clients choose: see [PartitionOf]. Messages without a
// key are spread as by [Sticky]. [OrderPerKey] keeps the order of these keys. A
// nil key is [MessageKey].
func ByKey(key KeyFunc) Partitioner {
	if key == nil {
		key = MessageKey
	}
	return &byKey{key: key, keyless: newSticky()}
}

type byKey struct {
	key     KeyFunc
	keyless *sticky
}

func (b *byKey) Partition(m *Message, n int) (int32, error) {
	partition, _, _ := b.choose(m, n)
	return partition, nil
}

// choose returns the key as well, which costs something to find.
func (b *byKey) choose(m *Message, n int) (partition int32, key []byte, ok bool) {
	if key, ok = b.key(m); ok {
		return PartitionOf(key, n), key, true
	}
	return b.keyless.next(m, n), nil, false
}

// Sticky returns a partitioner that pays no heed to keys. It stays with a
// partition for 16 KiB of messages and then takes another at random, as Kafka's
// own clients do, so that batches are large and the partitions get the same
// share in the end.
func Sticky() Partitioner { return newSticky() }

const stickyBytes = 16 << 10

// sticky is a random number in its upper half, and below it how many bytes have
// followed it.
type sticky struct{ state atomic.Uint64 }

func newSticky() *sticky {
	s := &sticky{}
	s.state.Store(uint64(rand.Uint32()) << 32)
	return s
}

func (s *sticky) Partition(m *Message, n int) (int32, error) { return s.next(m, n), nil }

func (s *sticky) next(m *Message, n int) int32 {
	size := uint64(min(m.Size(), stickyBytes))
	for {
		now := s.state.Load()
		next := now + size
		if uint32(next) >= stickyBytes {
			next = uint64(rand.Uint32()) << 32
		}
		if s.state.CompareAndSwap(now, next) {
			return int32(now >> 32 % uint64(n))
		}
	}
}

// RoundRobin returns a partitioner that pays no heed to keys and takes the
// partitions of each topic in turn.
func RoundRobin() Partitioner { return &roundRobin{} }

type roundRobin struct{ turns sync.Map } // of topic to *atomic.Uint32

func (r *roundRobin) Partition(m *Message, n int) (int32, error) {
	turn, ok := r.turns.Load(m.Topic)
	if !ok {
		turn, _ = r.turns.LoadOrStore(m.Topic, new(atomic.Uint32))
	}
	return int32((turn.(*atomic.Uint32).Add(1) - 1) % uint32(n)), nil
}

// Explicit returns a partitioner that takes Message.Partition. A message whose
// Partition does not exist is refused with [ErrInvalid].
func Explicit() Partitioner { return explicit{} }

type explicit struct{}

func (explicit) Partition(m *Message, n int) (int32, error) {
	if m.Partition < 0 || int(m.Partition) >= n {
		return 0, invalid("Message.Partition", "is %d, and topic %q has %d", m.Partition, m.Topic, n)
	}
	return m.Partition, nil
}
