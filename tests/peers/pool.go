package main

import (
	"runtime"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// pool is the limit that a runtime with key actors can reach: a queue for each
// key, a list of the keys that have something, and workers. It has no policy, no
// tracking and no acknowledgement; what is in flight is bounded as in troupe.
type pool struct {
	handle  func(*brokers.Message)
	perTurn int // items of a key: many where they are quick, one where they block
	wakes   int // workers to wake for a batch at the most

	mu     sync.Mutex
	wake   sync.Cond
	room   sync.Cond
	flying int
	keys   map[string]*queue
	ready  []*queue
	closed bool
	ended  sync.WaitGroup
}

type queue struct {
	items  []*brokers.Message
	first  int // those before it are handled
	active bool
}

const (
	bound = 12 * 4096 // messages in flight: what 12 partitions may have by default
	batch = 500       // messages submitted at once
)

// newPool is tuned for handlers that block, or for quick ones, which a few
// workers serve best.
func newPool(workers int, blocks bool, handle func(*brokers.Message)) *pool {
	p := &pool{handle: handle, perTurn: 64, wakes: runtime.GOMAXPROCS(0), keys: make(map[string]*queue)}
	if blocks {
		p.perTurn, p.wakes = 1, workers
	}
	p.wake.L, p.room.L = &p.mu, &p.mu
	for range workers {
		p.ended.Go(p.work)
	}
	return p
}

// submit queues a batch.
func (p *pool) submit(messages []brokers.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.flying > bound-len(messages) {
		p.room.Wait()
	}
	p.flying += len(messages)
	woken := 0
	for i := range messages {
		m := &messages[i]
		q := p.keys[string(m.Key)]
		if q == nil {
			q = &queue{}
			p.keys[string(m.Key)] = q
		}
		q.items = append(q.items, m)
		if !q.active {
			q.active = true
			p.ready = append(p.ready, q)
			woken++
		}
	}
	for range min(woken, p.wakes) {
		p.wake.Signal()
	}
}

func (p *pool) work() {
	var turn []*brokers.Message
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.ready) == 0 {
			if p.closed {
				return
			}
			p.wake.Wait()
		}
		q := p.ready[0]
		p.ready = p.ready[1:]
		n := min(len(q.items)-q.first, p.perTurn)
		turn = append(turn[:0], q.items[q.first:q.first+n]...)
		q.first += n
		if q.first == len(q.items) {
			q.items, q.first = q.items[:0], 0
		}
		p.mu.Unlock()
		for _, m := range turn {
			p.handle(m)
		}
		p.mu.Lock()
		if p.flying -= n; p.flying <= bound-batch {
			p.room.Signal()
		}
		if len(q.items) > 0 {
			p.ready = append(p.ready, q)
		} else {
			q.active = false
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	p.ended.Wait()
}
