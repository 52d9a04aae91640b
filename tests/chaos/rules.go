package chaos

import (
	"maps"
	"slices"
	"time"
)

// started judges the start of a handling.
func (c *checker) started(r *Record) {
	k := c.keys[r.Key]
	if k == nil || r.Number < 0 || r.Number >= len(k.outcomes) {
		c.fault(ruleStranger, "%s", r)
		return
	}
	if k.outcomes[r.Number] == NotSent {
		c.fault(ruleStranger, "%s, which the publisher reported as not sent", r)
	}
	p, t := c.partition(r.Partition), c.tenure(r)
	h := &handling{start: r}
	c.fence(r, p)
	c.overlap(r, p)
	c.place(r, k)
	if r.Number > k.due {
		c.fault(ruleOrder, "%s, before number %d was handled", r, k.due)
	}
	if r.Offset <= t.acked {
		c.fault(ruleAck, "%s, after all up to offset %d was acknowledged", r, t.acked)
	}
	c.follows(r, t.last[r.Key])
	c.repeats(r, k)
	t.last[r.Key], t.pending[r.Offset] = h, h
	p.open = append(p.open, h)
}

// fence judges who starts something.
func (c *checker) fence(r *Record, p *partitionState) {
	t := r.tenure()
	if p.owner == t {
		return
	}
	if at, was := p.taken[t]; was {
		if !c.tolerated(t, r.Time-at) {
			c.fault(ruleFence, "%s, %v after %q had taken the partition over", r, time.Duration(r.Time-at), p.owner.member)
		}
		return
	}
	// Of two, the one that goes on for longer is the owner; the other was lost
	// before it had begun anything.
	if owner := c.spans[p.owner]; owner.last > c.spans[t].last && c.tolerated(t, r.Time-owner.first) {
		p.taken[t] = owner.first
		return
	}
	if p.epochs[r.Member] >= r.Epoch {
		c.fault(ruleFence, "%s, after epoch %d", r, p.epochs[r.Member])
	}
	p.epochs[r.Member] = r.Epoch
	p.taken[p.owner] = r.Time
	p.owner = t
}

// tolerated says whether a tenure may have acted so long after its end.
func (c *checker) tolerated(t tenure, late int64) bool {
	return c.lost[t] && late <= int64(c.limits.Slack)
}

// overlap notes what runs beside of a start. Of a tenure's own handlings, only
// one of the same key may not. A tenure that was taken over is the one to blame,
// and fence has judged it.
func (c *checker) overlap(r *Record, p *partitionState) {
	_, late := p.taken[r.tenure()]
	for _, h := range p.open {
		same := h.start.tenure() == r.tenure()
		if h.rival == nil && (same && h.start.Key == r.Key || !same && !late) {
			h.rival = r
		}
	}
}

// place judges that a key stays in its partition.
func (c *checker) place(r *Record, k *keyState) {
	if k.placed && k.partition != r.Partition {
		c.fault(rulePlace, "%s, whose key was in partition %d", r, k.partition)
	}
	k.partition, k.placed = r.Partition, true
}

// follows judges a start by its key's last handling in the tenure.
func (c *checker) follows(r *Record, last *handling) {
	switch {
	case last == nil:
	case !last.settled() && r.Number != last.start.Number:
		c.fault(ruleOrder, "%s, though number %d was not decided in this tenure", r, last.start.Number)
	case last.settled() && r.Number <= last.start.Number && !c.double(r, last):
		c.fault(ruleOrder, "%s, after number %d in the same tenure", r, last.start.Number)
	}
}

// double says whether a message may have been stored twice.
func (c *checker) double(r *Record, last *handling) bool {
	return c.limits.Doubles && r.Number == last.start.Number && r.Offset != last.start.Offset
}

// repeats judges the start of what was handled before.
func (c *checker) repeats(r *Record, k *keyState) {
	at, handled := k.handled[r.Number]
	if c.history.Once && r.Offset > c.partition(r.Partition).acked {
		return
	}
	if handled && !c.limits.Doubles && !c.excused(at) {
		c.fault(ruleRepeat, "%s, %v after it was handled, and nothing was broken then",
			r, time.Duration(r.Time-at).Round(time.Millisecond))
	}
}

// effects judges what the handlers of a key have published.
func (c *checker) effects(key string, k *keyState) {
	seen, highest := map[int]bool{}, -1
	for _, n := range c.history.Effects[key] {
		if _, handled := k.handled[n]; !handled {
			c.fault(ruleEffect, "key %q, number %d was published for, and not handled", key, n)
		}
		if !seen[n] && n < highest {
			c.fault(ruleEffect, "key %q, what number %d published lies behind that of number %d", key, n, highest)
		}
		if seen[n] && c.history.Once {
			c.fault(ruleEffect, "key %q, what number %d published is there twice", key, n)
		}
		seen[n], highest = true, max(highest, n)
	}
	for _, n := range slices.Sorted(maps.Keys(k.handled)) {
		if seen[n] && k.left[n] && c.history.Once {
			c.fault(ruleEffect, "key %q, what number %d published is there, and it was not settled", key, n)
		}
		if !seen[n] && !k.left[n] {
			c.fault(ruleEffect, "key %q, what number %d published is nowhere, and it was settled", key, n)
		}
	}
}
