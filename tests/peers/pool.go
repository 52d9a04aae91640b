package main

import (
	"runtime"
	"sync"
)

// pool is the limit that a runtime with key actors can reach: a queue for each
// key, a list of the keys that have something, and workers. It has no policy, no
// tracking and no acknowledgement; what is in flight is bounded as in troupe.
type pool[T any] struct {
	key     func(T) []byte
	handle  func(T)
	perTurn int // items of a key: many where they are quick, one where they block
	wakes   int // workers to wake for a batch at the most

	mu     sync.Mutex
	wake   sync.Cond
	room   sync.Cond
	flying int
	keys   map[string]*queue[T]
	ready  []*queue[T]
	closed bool
	ended  sync.WaitGroup
}

type queue[T any] struct {
	items  []T
	first  int // those before it are handled
	active bool
}

const (
	bound = 12 * 4096 // messages in flight: what 12 partitions may have by default
	batch = 500       // messages submitted at once
)

// newPool is tuned for handlers that block, or for quick ones, which a few
// workers serve best.
func newPool[T any](workers int, blocks bool, key func(T) []byte, handle func(T)) *pool[T] {
	p := &pool[T]{key: key, handle: handle, perTurn: 64, wakes: runtime.GOMAXPROCS(0), keys: make(map[string]*queue[T])}
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
func (p *pool[T]) submit(items []T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.flying > bound-len(items) {
		p.room.Wait()
	}
	p.flying += len(items)
	woken := 0
	for _, item := range items {
		key := p.key(item)
		q := p.keys[string(key)]
		if q == nil {
			q = &queue[T]{}
			p.keys[string(key)] = q
		}
		q.items = append(q.items, item)
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

func (p *pool[T]) work() {
	var turn []T
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
		for _, item := range turn {
			p.handle(item)
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

func (p *pool[T]) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	p.ended.Wait()
}
