package brokers

import (
	"container/list"
	"context"
)

// room is what is free in a publisher's buffer, and who waits for some: first
// come, first served, so that small messages do not pass a large one for ever.
// Publisher.mu guards it.
type room struct {
	messages, bytes int
	waiting         list.List // of *hurdle
}

// hurdle is where a caller waits for room.
type hurdle struct {
	size   int
	passed chan error // of one: nil when it has its room
}

// take takes room for a message if there is some and nobody waits.
func (r *room) take(size int) bool {
	return r.waiting.Len() == 0 && r.fit(size)
}

func (r *room) fit(size int) bool {
	if r.messages == 0 || r.bytes < size {
		return false
	}
	r.messages--
	r.bytes -= size
	return true
}

// release gives a message's room back. It is granted when mu is unlocked.
func (r *room) release(size int) {
	r.messages++
	r.bytes += size
}

// grant lets those pass for whom there is room.
func (r *room) grant() {
	for e := r.waiting.Front(); e != nil; e = r.waiting.Front() {
		h := e.Value.(*hurdle)
		if !r.fit(h.size) {
			return
		}
		r.waiting.Remove(e)
		h.passed <- nil
	}
}

// refuse turns all away that wait.
func (r *room) refuse(err error) {
	for e := r.waiting.Front(); e != nil; e = r.waiting.Front() {
		r.waiting.Remove(e).(*hurdle).passed <- err
	}
}

// awaitRoom waits, with mu unlocked, until there is room. On an error none was
// taken.
func (p *Publisher) awaitRoom(ctx context.Context, size int) error {
	h := &hurdle{size: size, passed: make(chan error, 1)}
	place := p.room.waiting.PushBack(h)
	p.unlock()
	var err error
	select {
	case err = <-h.passed:
		p.mu.Lock()
		if err == nil && p.closing {
			p.room.release(size)
			err = ErrClosed
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
		p.mu.Lock()
		p.leaveHurdle(h, place)
	}
	return err
}

// leaveHurdle is for a caller that does not want its room any more.
func (p *Publisher) leaveHurdle(h *hurdle, place *list.Element) {
	select {
	case err := <-h.passed:
		if err == nil {
			p.room.release(h.size)
		}
	default:
		p.room.waiting.Remove(place)
	}
}
