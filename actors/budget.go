package actors

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/brokers"
)

// budget bounds what all regions of a process have fetched and not settled.
// Booking is two atomic additions; only who must wait takes the lock.
type budget struct {
	maxMessages, maxBytes int64
	messages, bytes       atomic.Int64

	waiting atomic.Int32
	mu      sync.Mutex
	room    chan struct{} // closed when there is room again
}

func newBudget(messages, bytes int) *budget {
	return &budget{maxMessages: int64(messages), maxBytes: int64(bytes), room: make(chan struct{})}
}

func (b *budget) add(messages, bytes int) {
	b.messages.Add(int64(messages))
	b.bytes.Add(int64(bytes))
}

func (b *budget) sub(messages, bytes int) {
	b.messages.Add(-int64(messages))
	b.bytes.Add(-int64(bytes))
	if b.waiting.Load() > 0 && !b.spent() {
		b.mu.Lock()
		close(b.room)
		b.room = make(chan struct{})
		b.mu.Unlock()
	}
}

func (b *budget) spent() bool {
	return b.messages.Load() >= b.maxMessages || b.bytes.Load() >= b.maxBytes
}

// await blocks while the budget is spent.
func (b *budget) await(ctx context.Context, revoking <-chan struct{}) error {
	if !b.spent() {
		return nil
	}
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for {
		b.mu.Lock()
		room := b.room
		b.mu.Unlock()
		if !b.spent() {
			return nil
		}
		select {
		case <-room:
		case <-revoking:
			return brokers.ErrRevoked
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
