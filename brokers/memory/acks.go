package memory

import (
	"context"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// acks is an epoch's way of acknowledging, and its fence: once ended, nothing
// reaches the source any more.
type acks struct {
	mu      sync.Mutex
	ended   error // why, once the epoch has ended
	pending *gathered
	stage   stage
}

// gathered is what a fault keeps from the broker, or a transaction that it refused.
type gathered struct {
	ack   brokers.Ack
	timer *time.Timer   // nil while the acknowledgements are held
	sent  chan struct{} // closed when the broker has them
}

// Ack implements [brokers.Partition].
func (e *epoch) Ack(a brokers.Ack) error {
	if e.sub.cfg.Transactional {
		a.Above = nil
		e.route()
	}
	void, err := e.acknowledge(a)
	if void {
		e.server().void(e)
	}
	return err
}

func (e *epoch) acknowledge(a brokers.Ack) (void bool, err error) {
	e.acks.mu.Lock()
	defer e.acks.mu.Unlock()
	if e.acks.ended != nil {
		return false, e.acks.ended
	}
	held, delay := e.server().faults.acks.state()
	if held != nil || delay > 0 || e.acks.pending != nil {
		e.gather(a, held != nil, delay)
		return false, nil
	}
	void, refused := e.deliver(a)
	if refused {
		e.gather(a, false, transactAgain)
	}
	return void, nil
}

// deliver brings an acknowledgement to the broker, and says whether the broker
// called it void, or refused what was staged for it. It needs acks.mu.
func (e *epoch) deliver(a brokers.Ack) (void, refused bool) {
	server := e.server()
	if server.faults.voidAcks.take() {
		return true, false
	}
	if e.acks.stage.on {
		if !e.transact(a.UpTo) {
			return false, true
		}
		defer poke(e.more) // there may be room
	}
	if e.source.settle(a) {
		poke(e.more)
	}
	if e.share != nil && server.cfg.DropSettled {
		e.share.log.dropSettled()
	}
	server.changes.note()
	return false, false
}

// gather keeps a until its time has come. It needs acks.mu.
func (e *epoch) gather(a brokers.Ack, held bool, delay time.Duration) {
	p := e.acks.pending
	if p == nil {
		p = &gathered{ack: brokers.Ack{UpTo: brokers.NoOffset}, sent: make(chan struct{})}
		e.acks.pending = p
	}
	p.ack.UpTo = max(p.ack.UpTo, a.UpTo)
	p.ack.Above = append(p.ack.Above, a.Above...)
	if !held && p.timer == nil {
		p.timer = time.AfterFunc(delay, e.sendGathered)
	}
}

// sendGathered delivers what was kept, unless it is still held.
func (e *epoch) sendGathered() {
	e.route()
	if e.deliverGathered() {
		e.server().void(e)
	}
}

func (e *epoch) deliverGathered() (void bool) {
	e.acks.mu.Lock()
	defer e.acks.mu.Unlock()
	p := e.acks.pending
	if p == nil || e.acks.ended != nil {
		return false
	}
	if held, _ := e.server().faults.acks.state(); held != nil {
		p.timer = nil
		return false
	}
	void, refused := e.deliver(p.ack)
	switch {
	case void:
		return true
	case refused:
		p.timer = time.AfterFunc(transactAgain, e.sendGathered)
		return false
	}
	e.acks.pending = nil
	close(p.sent)
	return false
}

// endAcks raises the fence.
func (e *epoch) endAcks(cause error) {
	e.acks.mu.Lock()
	defer e.acks.mu.Unlock()
	e.acks.ended = cause
	if p := e.acks.pending; p != nil && p.timer != nil {
		p.timer.Stop()
	}
}

// drainAcks waits until the broker has every acknowledgement.
func (e *epoch) drainAcks(ctx context.Context) error {
	e.acks.mu.Lock()
	p := e.acks.pending
	e.acks.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.sent:
		return nil
	case <-e.ctx.Done():
		return context.Cause(e.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}
