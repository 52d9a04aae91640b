package nats

import (
	"iter"
	"slices"
)

// ledger keeps which messages of an epoch were fetched and are not settled. Its
// size follows those, not what was settled above a gap.
type ledger struct {
	seqs    []uint64 // as fetched, so in order
	settled []bool   // beside seqs
	first   int      // what lies before is settled
	dead    int      // how many are settled from first on
	last    uint64   // fetched
}

// fetched notes a message, which comes after all before it.
func (l *ledger) fetched(seq uint64) {
	l.seqs = append(l.seqs, seq)
	l.settled = append(l.settled, false)
	l.last = seq
}

// settle notes all up to upTo, and those above it, as settled. It appends to
// into those that were not before.
func (l *ledger) settle(into []uint64, upTo int64, above []int64) []uint64 {
	for l.first < len(l.seqs) && upTo >= 0 && l.seqs[l.first] <= uint64(upTo) {
		if l.settled[l.first] {
			l.dead--
		} else {
			into = append(into, l.seqs[l.first])
		}
		l.first++
	}
	for _, seq := range above {
		if i, ok := l.find(uint64(max(seq, 0))); ok {
			l.settled[i] = true
			l.dead++
			into = append(into, l.seqs[i])
		}
	}
	l.compact()
	return into
}

// has says whether a message was fetched and is not settled.
func (l *ledger) has(seq uint64) bool {
	_, ok := l.find(seq)
	return ok
}

// find returns where an unsettled message is.
func (l *ledger) find(seq uint64) (int, bool) {
	i, ok := slices.BinarySearch(l.seqs[l.first:], seq)
	i += l.first
	return i, ok && !l.settled[i]
}

// len is how many messages are unsettled.
func (l *ledger) len() int { return len(l.seqs) - l.first - l.dead }

// unsettled lists them in order.
func (l *ledger) unsettled() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := l.first; i < len(l.seqs); i++ {
			if !l.settled[i] && !yield(l.seqs[i]) {
				return
			}
		}
	}
}

// compact drops what is settled once it is most.
func (l *ledger) compact() {
	if gone := l.first + l.dead; gone < 64 || gone < len(l.seqs)/2 {
		return
	}
	kept := slices.Collect(l.unsettled())
	l.seqs, l.settled = append(l.seqs[:0], kept...), l.settled[:len(kept)]
	clear(l.settled)
	l.first, l.dead = 0, 0
}
