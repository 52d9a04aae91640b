package postgres

import "slices"

// span is a run of numbers that are not done with.
type span struct {
	from, to int64
	gap      *gap // what is known if they have no rows; nil if they do
}

// gap is of numbers that were given, and have no row that is visible. It is shared by
// all that were noticed at once.
type gap struct {
	fence   int64           // from this transaction on nobody can fill it; 0 if it is not known yet
	writers map[string]bool // those who could have filled it when it was looked for them; nil before
	gone    bool            // they have all ended
}

// closed says whether nobody can fill the gap who is not known to a snapshot; xmin is
// the oldest transaction that it does not know the end of.
func (g *gap) closed(xmin int64) bool { return g.gone || g.fence > 0 && xmin >= g.fence }

// spans are sorted, and have no number in common.
type spans []span

// add appends one that is behind all others.
func (s spans) add(p span) spans {
	if p.from > p.to {
		return s
	}
	if last := len(s) - 1; last >= 0 && s[last].to+1 == p.from && s[last].gap == p.gap {
		s[last].to = p.to
		return s
	}
	return append(s, p)
}

// without is what remains when some numbers are done with.
func (s spans) without(done []int64) spans {
	if len(done) == 0 {
		return s
	}
	done = slices.Clone(done)
	slices.Sort(done)
	var rest spans
	for _, p := range s {
		skip, _ := slices.BinarySearch(done, p.from)
		done = done[skip:]
		for len(done) > 0 && done[0] <= p.to {
			rest = rest.add(span{p.from, done[0] - 1, p.gap})
			p.from, done = done[0]+1, done[1:]
		}
		rest = rest.add(p)
	}
	return rest
}

// has says whether a number is in one of them.
func (s spans) has(id int64) bool {
	i, found := slices.BinarySearchFunc(s, id, func(p span, id int64) int {
		switch {
		case p.to < id:
			return -1
		case p.from > id:
			return 1
		}
		return 0
	})
	return found && s[i].from <= id
}

// bounds are the first and the last numbers of each.
func (s spans) bounds() (from, to []int64) {
	from, to = make([]int64, 0, len(s)), make([]int64, 0, len(s)) // not nil: that would be NULL
	for _, p := range s {
		if last := len(to) - 1; last >= 0 && to[last]+1 == p.from {
			to[last] = p.to
			continue
		}
		from, to = append(from, p.from), append(to, p.to)
	}
	return from, to
}
