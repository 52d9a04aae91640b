package actors

import "errors"

var (
	// ErrStashFull is returned by [Context.Stash] when MaxBacklog items of the key
	// are stashed, or the partition holds MaxParked messages: were there more, what
	// ends the wait could not be read. A handler that returns it has its message
	// judged as any failure.
	ErrStashFull = errors.New("actors: stash is full")
	// ErrNoStash is returned by Stash where nothing could come back: in hooks, for
	// messages without order, and at durable keys, whose actor is dropped when a
	// commit fails.
	ErrNoStash = errors.New("actors: nothing to stash, or no order to come back in")
)

// Stash puts the event or letter being handled aside: it is neither decided nor
// lost, and comes back, in order, with [Context.UnstashAll] or at the end of the
// instance. Receive is to return nil; what it staged goes out, and what it stages
// when the item comes back is another effect. It counts as held, as the messages
// behind a parked key do. The errors are [ErrStashFull] and [ErrNoStash].
func (c *Context) Stash() error {
	if c.stashed {
		return nil
	}
	if c.item == &noItem || c.cell.kind == cellEphemeral || c.region.sub.plan.durable != nil {
		return ErrNoStash
	}
	r := c.region
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := c.cell.extra; e != nil && int(e.stashed) >= r.sub.cfg.MaxBacklog {
		return ErrStashFull
	}
	r.sched.hold(c.item, 1)
	if c.item.message != nil && r.limitReached() == limitParked {
		r.sched.hold(c.item, -1)
		return ErrStashFull
	}
	c.stashed = true
	return nil
}

// dropStash takes Stash back, as Receive has failed.
func (c *Context) dropStash() {
	if !c.stashed {
		return
	}
	c.stashed = false
	c.region.mu.Lock()
	defer c.region.mu.Unlock()
	c.region.sched.hold(c.item, -1)
}

// UnstashAll stages the return of what was stashed before: it is handled next,
// in the order of stashing, before what waits.
func (c *Context) UnstashAll() { c.staged.unstash = true }

// putAside stashes an item. Its copy lives outside of its batch.
func (r *region) putAside(c *cell, it *item) {
	it.fate = fateStashed
	aside := *it.detach()
	aside.next, aside.fate = nil, fateSettled
	if aside.stashes < 255 {
		aside.stashes++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := c.extras()
	if e.lastStash == nil {
		e.stash = &aside
	} else {
		e.lastStash.next = &aside
	}
	e.lastStash = &aside
	e.stashed++
}

// unstash takes what is stashed into the turn, whose end brings it back. The
// region's lock is held.
func (r *region) unstash(t *turn) {
	e := t.cell.extra
	if e == nil || e.stash == nil {
		return
	}
	for it := e.stash; it != nil; it = it.next {
		r.sched.hold(it, -1)
		if it.letter != nil {
			t.cell.letters++
		}
	}
	t.back, t.backs = e.stash, e.stashed
	e.stash, e.lastStash, e.stashed = nil, nil, 0
}

// bringBack puts what was unstashed at the front of the queue: behind the head
// if that has failed, as the verdict is on the head, and it was handled before
// what waited in the stash. The region's lock is held.
func (r *region) bringBack(t *turn) {
	if t.back == nil {
		return
	}
	if !t.failed {
		r.sched.prepend(t.cell, t.back, t.backs)
		return
	}
	head := r.sched.pop(t.cell)
	r.sched.prepend(t.cell, t.back, t.backs)
	r.sched.prepend(t.cell, head, 1)
}
