package nats

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The ledger agrees with a set.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		open := map[uint64]bool{}
		next := uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 20).Draw(t, "fetched") {
				next += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
				l.fetched(next)
				open[next] = true
			}
			upTo := rapid.Int64Range(-1, int64(next)).Draw(t, "upTo")
			if rapid.IntRange(0, 2).Draw(t, "holds") > 0 {
				upTo = -1
			}
			above := rapid.SliceOfN(rapid.Int64Range(0, int64(next)+2), 0, 8).Draw(t, "above")
			got := l.settle(nil, upTo, above)
			want := map[uint64]bool{}
			for seq := range open {
				if int64(seq) <= upTo || slices.Contains(above, int64(seq)) {
					want[seq] = true
					delete(open, seq)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("settled %v; want %v", got, want)
			}
			if left := slices.Collect(l.unsettled()); !slices.Equal(left, slices.Sorted(maps.Keys(open))) || l.len() != len(left) {
				t.Fatalf("unsettled %v (%d); want %v", left, l.len(), open)
			}
			for seq := range open {
				if !l.has(seq) {
					t.Fatalf("%d is unsettled and not found", seq)
				}
			}
		}
	})
}

// A message that stays unsettled for ever costs no memory for those above it.
func TestLedgerAboveAGap(t *testing.T) {
	var l ledger
	l.fetched(1)
	for seq := uint64(2); seq < 100_000; seq++ {
		l.fetched(seq)
		l.settle(nil, -1, []int64{int64(seq)})
	}
	if len(l.seqs) > 200 {
		t.Errorf("the ledger of one unsettled message has %d entries", len(l.seqs))
	}
	if got := l.settle(nil, 100_000, nil); !slices.Equal(got, []uint64{1}) {
		t.Errorf("settled %v; want the one below the gap", got)
	}
}
