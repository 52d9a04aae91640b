package postgres

// cursor is how far the reader of a shard is. It does no I/O.
type cursor struct {
	hi   int64 // the largest number seen
	open spans // those up to hi that are not done with
}

// newCursor is at the place that another one had, by its bounds.
func newCursor(hi int64, from, to []int64) *cursor {
	c, unknown := &cursor{hi: hi}, &gap{}
	for i := range from {
		c.open = c.open.add(span{from[i], to[i], unknown})
	}
	return c
}

// maxSpans is how many open spans there may be before the reader looks no further: it
// looks for all of them with each read. There are that many if a writer has been at it
// while others rolled back, or wrote between its rows, as many times.
const maxSpans = 50_000

// full says that what is open must become less first.
func (c *cursor) full() bool { return len(c.open) >= maxSpans }

// saw is told what one snapshot shows of the open numbers and of those beyond hi, up
// to last; xmin is the oldest transaction that it does not know the end of.
func (c *cursor) saw(visible []int64, last, xmin int64) {
	var open spans
	fresh := &gap{}
	missing := func(from, to int64, known *gap) {
		if known == nil { // a row was there: it was moved meanwhile, or is gone
			known = fresh
		}
		if !known.closed(xmin) { // else it was rolled back
			open = open.add(span{from, to, known})
		}
	}
	for _, p := range c.open {
		looked := min(p.to, last)
		for len(visible) > 0 && visible[0] <= looked {
			missing(p.from, visible[0]-1, p.gap)
			open = open.add(span{visible[0], visible[0], nil})
			p.from, visible = visible[0]+1, visible[1:]
		}
		if p.from <= looked {
			missing(p.from, looked, p.gap)
			p.from = looked + 1
		}
		open = open.add(p)
	}
	for _, id := range visible {
		missing(c.hi+1, id-1, fresh)
		open = open.add(span{id, id, nil})
		c.hi = id
	}
	c.open = open
}

// pass gives up numbers that are done with.
func (c *cursor) pass(done []int64) { c.open = c.open.without(done) }

// beyond are those of some numbers that are not the cursor's: their rows are aside.
func (c *cursor) beyond(ids []int64) (others []int64) {
	if c == nil {
		return nil
	}
	for _, id := range ids {
		if !c.open.has(id) {
			others = append(others, id)
		}
	}
	return others
}

// gaps says whether there are any, and whether some have no fence yet.
func (c *cursor) gaps() (some, unfenced bool) {
	for _, p := range c.open {
		some, unfenced = some || p.gap != nil, unfenced || p.gap != nil && p.gap.fence == 0
	}
	return some, unfenced
}

// fence is given a transaction id that was taken after the gaps were seen.
func (c *cursor) fence(xid int64) {
	for _, p := range c.open {
		if p.gap != nil && p.gap.fence == 0 {
			p.gap.fence = xid
		}
	}
}

// writing is given those who hold the lock of writers, looked for after the gaps were
// seen: who has taken a number holds it until its transaction ends.
func (c *cursor) writing(now map[string]bool) {
	var last *gap // most neighbours are of one
	for _, p := range c.open {
		if p.gap == nil || p.gap == last || p.gap.gone {
			continue
		}
		last = p.gap
		if p.gap.writers == nil {
			p.gap.writers = now
		}
		p.gap.gone = !common(p.gap.writers, now)
	}
}

// prepared is any transaction that is prepared: it had another name before.
const prepared = "prepared"

// common says whether some of those before may be among those now.
func common(before, now map[string]bool) bool {
	for name := range before {
		if now[name] {
			return true
		}
	}
	return now[prepared]
}
