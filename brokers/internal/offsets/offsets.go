// Package offsets is a set of offsets, for what is settled above a gap.
package offsets

import (
	"iter"
	"math/bits"
	"slices"
)

// Set is a set of offsets that lie near each other: a bitmap that grows
// upwards and is cut off below. The zero value is empty.
type Set struct {
	base  int64 // the offset of bit 0 of words[0], a multiple of 64
	words []uint64
	n     int
}

// Len is how many offsets the set holds.
func (s *Set) Len() int { return s.n }

// Has says whether o is in the set.
func (s *Set) Has(o int64) bool {
	i := (o - s.base) >> 6
	return i >= 0 && i < int64(len(s.words)) && s.words[i]&bit(o) != 0
}

// Add puts o in and says whether it was not there. Callers add nothing below
// their last cut.
func (s *Set) Add(o int64) bool {
	if o < s.base || s.Has(o) {
		return false
	}
	for i := (o - s.base) >> 6; i >= int64(len(s.words)); {
		s.words = append(s.words, 0)
	}
	s.words[(o-s.base)>>6] |= bit(o)
	s.n++
	return true
}

// Remove takes o out and says whether it was there.
func (s *Set) Remove(o int64) bool {
	if !s.Has(o) {
		return false
	}
	s.words[(o-s.base)>>6] &^= bit(o)
	s.n--
	return true
}

// Cut takes out everything below o and gives its memory back.
func (s *Set) Cut(o int64) {
	if o <= s.base {
		return
	}
	whole := min((o-s.base)>>6, int64(len(s.words)))
	for _, w := range s.words[:whole] {
		s.n -= bits.OnesCount64(w)
	}
	s.words = s.words[whole:]
	s.base = o &^ 63
	if len(s.words) > 0 {
		below := s.words[0] & (bit(o) - 1)
		s.n -= bits.OnesCount64(below)
		s.words[0] &^= below
	}
}

// Gap returns the first offset from o upwards that is not in the set.
func (s *Set) Gap(o int64) int64 {
	for s.n > 0 && s.Has(o) {
		i := (o - s.base) >> 6
		run := bits.TrailingZeros64(^(s.words[i] >> (o & 63)))
		o += int64(run)
		if o&63 != 0 {
			break
		}
	}
	return o
}

// Clone returns a copy that shares no memory with s.
func (s *Set) Clone() Set { return Set{base: s.base, words: slices.Clone(s.words), n: s.n} }

// All yields the offsets from the lowest up.
func (s *Set) All() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i, w := range s.words {
			for ; w != 0; w &= w - 1 {
				if !yield(s.base + int64(i)<<6 + int64(bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

func bit(o int64) uint64 { return 1 << (o & 63) }
