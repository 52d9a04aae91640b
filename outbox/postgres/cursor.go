package postgres

import "slices"

// cursor is how far the reader of a shard is. It does no I/O.
type cursor struct {
	hi   int64           // the largest number seen
	open map[int64]place // the numbers up to hi that are not done with
}

// place is a number that is not done with.
type place struct {
	seen  bool  // its row is visible, and not published yet
	fence int64 // of a gap: from this transaction on nobody can fill it; 0 if it is not known yet
}

func newCursor(hi int64, open []int64) *cursor {
	c := &cursor{hi: hi, open: make(map[int64]place, len(open))}
	for _, id := range open {
		c.open[id] = place{}
	}
	return c
}

// wanted are the numbers to look for up to hi.
func (c *cursor) wanted() []int64 { return c.without(nil) }

// saw is told what one snapshot shows of the numbers wanted and of those beyond hi,
// up to last; xmin is the oldest transaction that it does not know the end of.
func (c *cursor) saw(visible []int64, last, xmin int64) {
	shown := make(map[int64]bool, len(visible))
	for _, id := range visible {
		shown[id] = true
	}
	for id, p := range c.open {
		switch {
		case id > last:
		case shown[id]:
			c.open[id] = place{seen: true}
		case p.seen: // it was moved meanwhile, or is gone
			c.open[id] = place{}
		case p.fence > 0 && xmin >= p.fence:
			delete(c.open, id) // rolled back
		}
	}
	if len(visible) == 0 {
		return
	}
	top := visible[len(visible)-1]
	for id := c.hi + 1; id <= top; id++ {
		c.open[id] = place{seen: shown[id]}
	}
	c.hi = max(c.hi, top)
}

// pass gives up numbers that are done with.
func (c *cursor) pass(done []int64) {
	for _, id := range done {
		delete(c.open, id)
	}
}

// beyond are those of some numbers that are not the cursor's: their rows are aside.
func (c *cursor) beyond(ids []int64) (others []int64) {
	if c == nil {
		return nil
	}
	for _, id := range ids {
		if _, ok := c.open[id]; !ok {
			others = append(others, id)
		}
	}
	return others
}

// unfenced says whether there are gaps without a fence.
func (c *cursor) unfenced() bool {
	for _, p := range c.open {
		if !p.seen && p.fence == 0 {
			return true
		}
	}
	return false
}

// fence is given a transaction id that was taken after the gaps were seen.
func (c *cursor) fence(xid int64) {
	for id, p := range c.open {
		if !p.seen && p.fence == 0 {
			c.open[id] = place{fence: xid}
		}
	}
}

// without are the open numbers when some are done with, sorted.
func (c *cursor) without(done []int64) []int64 {
	gone := make(map[int64]bool, len(done))
	for _, id := range done {
		gone[id] = true
	}
	rest := make([]int64, 0, len(c.open))
	for id := range c.open {
		if !gone[id] {
			rest = append(rest, id)
		}
	}
	slices.Sort(rest)
	return rest
}
