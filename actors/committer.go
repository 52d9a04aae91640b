package actors

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/supervision"
)

// commitTimeout bounds one transaction. It is the time after which a store that
// does not answer counts as down.
const commitTimeout = 30 * time.Second

// committer commits the units of a subscription's durable keys: in one transaction
// all that came during the last one. So units do not wait for a group to fill up,
// and groups grow with the store's latency. When a whole group waits, and the store
// can, a second transaction is begun.
type committer struct {
	mu       sync.Mutex
	queue    []*unit
	messages int // in the queue
	under    int // transactions under way
}

// maxAtOnce is how many transactions are under way at the most: while one waits for
// the disk the other is worked on.
const maxAtOnce = 2

// submit hands a turn to the committer, which concludes it. The region's lock is
// held; what it returns is to be called without it.
func (r *region) submit(t *turn) (after func()) {
	u := t.unit
	u.turn = *t
	u.turn.unit = nil
	r.deciding++
	r.committing++
	if !u.writes {
		return u.committed
	}
	c := &r.sub.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, u)
	c.messages += len(u.effects)
	d := r.sub.plan.durable
	if c.under == 0 || c.messages >= d.MaxGroup && c.under < min(maxAtOnce, d.Store.Writers()) {
		c.under++
		r.sub.pool.wg.Go(func() { c.work(r.sub) })
	}
	return nil
}

func (c *committer) work(s *subscription) {
	for {
		group := c.take(s.plan.durable.MaxGroup)
		if group == nil {
			return
		}
		s.commit(group)
	}
}

// take returns the units of so many messages, at least one; nil if there is none, or
// not a whole group beside the transaction that is under way, which takes them. A
// message that is in two units, as it was published under two keys, is in two groups:
// the store tells the second that it was handled.
func (c *committer) take(messages int) (group []*unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.under > 1 && c.messages < messages {
		c.under--
		return nil
	}
	n, taken := 0, 0
	ids := make(map[string]bool)
	for n < len(c.queue) && (n == 0 || taken+len(c.queue[n].effects) <= messages && !c.queue[n].has(ids)) {
		taken += len(c.queue[n].effects)
		for _, id := range c.queue[n].Handled {
			ids[id] = true
		}
		n++
	}
	c.messages -= taken
	group = append(group, c.queue[:n]...)
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	return group
}

// commit commits a group. What fails alone is the message's fault if the store
// took anything else, or at least answers.
func (s *subscription) commit(group []*unit) {
	t := &trial{store: s.plan.durable.Store}
	t.try(group)
	if len(t.failed) == 0 {
		return
	}
	down := t.taken == 0 && t.commit(nil) != nil
	for _, f := range t.failed {
		s.log.Debug("commit failed", zap.Error(f.err), zap.String("key", f.unit.Key), zap.Bool("store_down", down))
		f.unit.refused(f.err, down)
	}
}

// trial is the commit of a group, as a whole or in parts.
type trial struct {
	store  durable.Store
	taken  int
	failed []failedUnit
}

type failedUnit struct {
	unit *unit
	err  error
}

func (t *trial) commit(units []durable.Unit) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	return t.store.Commit(ctx, units)
}

// try commits a group. If that fails it is tried without those that the store
// names, or else in halves.
func (t *trial) try(group []*unit) {
	if len(group) == 0 {
		return
	}
	units := make([]durable.Unit, len(group))
	for i, u := range group {
		units[i] = u.Unit
	}
	err := t.commit(units)
	var fenced *durable.FencedError
	var repeated *durable.DuplicateError
	switch {
	case err == nil:
		t.taken += len(group)
		for _, u := range group {
			u.committed()
		}
		return
	case errors.As(err, &fenced):
		rest, out := split(group, func(u *unit) bool { return u.Scope == fenced.Scope })
		if len(out) > 0 {
			for _, u := range out {
				u.fenced(err)
			}
			t.try(rest)
			return
		}
	case errors.As(err, &repeated):
		known := make(map[string]bool, len(repeated.IDs))
		for _, id := range repeated.IDs {
			known[id] = true
		}
		rest, out := split(group, func(u *unit) bool { return u.has(known) })
		if len(out) > 0 {
			t.taken++ // it has answered
			for _, u := range out {
				u.repeated(known)
			}
			t.try(rest)
			return
		}
	}
	if len(group) == 1 {
		t.failed = append(t.failed, failedUnit{group[0], err})
		return
	}
	half := len(group) / 2
	t.try(group[:half])
	t.try(group[half:])
}

// split parts those of whom out is true from the rest.
func split(group []*unit, out func(*unit) bool) (rest, chosen []*unit) {
	for _, u := range group {
		if out(u) {
			chosen = append(chosen, u)
		} else {
			rest = append(rest, u)
		}
	}
	return rest, chosen
}

func (u *unit) has(known map[string]bool) bool {
	for _, id := range u.Handled {
		if known[id] {
			return true
		}
	}
	return false
}

// acquire begins an epoch of the partition's states. It returns false if the
// partition was lost before the store could be reached.
func (r *region) acquire() bool {
	d := r.sub.plan.durable
	if d == nil {
		return true
	}
	for tries := 1; ; tries++ {
		token, err := d.Store.Acquire(r.ctx, r.scope)
		if err == nil {
			r.token = token
			return true
		}
		after := r.sub.mending(tries, r.scope.Topic)
		r.log.Warn("the store of the states cannot be reached", zap.Error(err), zap.Duration("retry_in", after))
		again := time.NewTimer(after)
		select {
		case <-again.C:
		case <-r.part.Revoking():
			again.Stop()
			return false
		case <-r.ctx.Done():
			again.Stop()
			return false
		}
	}
}

func isStateError(err error) bool {
	var e *StateError
	return errors.As(err, &e)
}

// parking is the subscription's policy for what nothing but a person can mend.
func (s *subscription) parking() supervision.Policy {
	return supervision.Policy{MaxAttempts: 1, Backoff: s.cfg.Policy.Backoff}
}
