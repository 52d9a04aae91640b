package actors

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// The tracker against a model that keeps every message and its state.
func TestTrackerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			offset  int64
			settled bool
		}
		var (
			tr     = newTracker()
			model  []entry
			told   = map[int64]bool{} // acknowledged singly
			reject = map[int64]bool{} // and not told yet
			mark   = brokers.NoOffset // acknowledged as a prefix
			offset = rapid.Int64Range(0, 5).Draw(t, "first offset")
			prefix = func() (n int) {
				return slices.IndexFunc(append(model, entry{}), func(e entry) bool { return !e.settled })
			}
			settled = func() (n int) {
				for _, e := range model {
					if e.settled {
						n++
					}
				}
				return n
			}
		)
		t.Repeat(map[string]func(*rapid.T){
			"fetch": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					if got := tr.fetched(offset); got != uint64(len(model)) {
						t.Fatalf("place %d, want %d", got, len(model))
					}
					model = append(model, entry{offset: offset})
					offset += rapid.Int64Range(1, 3).Draw(t, "step")
				}
			},
			"settle": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing fetched")
				}
				for range rapid.IntRange(1, 50).Draw(t, "n") {
					i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
					settle := tr.settle
					if rapid.Bool().Draw(t, "reject") {
						settle = tr.reject
						reject[model[i].offset] = reject[model[i].offset] || !model[i].settled
					}
					if settle(uint64(i)) == model[i].settled {
						t.Fatalf("settle(%d) was taken, though settled was %v", i, model[i].settled)
					}
					model[i].settled = true
				}
			},
			"take": func(t *rapid.T) {
				ack, ok := tr.take()
				if ack.UpTo < mark {
					t.Fatalf("mark went back from %d to %d", mark, ack.UpTo)
				}
				if !ok && (ack.UpTo != mark || len(ack.Above) > 0) {
					t.Fatalf("nothing to take, and yet %+v after %d", ack, mark)
				}
				mark = ack.UpTo
				maps.DeleteFunc(reject, func(_ int64, is bool) bool { return !is })
				if got := slices.Sorted(slices.Values(ack.Rejected)); !slices.Equal(got, slices.Sorted(maps.Keys(reject))) {
					t.Fatalf("rejected %v; want %v", got, reject)
				}
				clear(reject)
				for _, o := range ack.Above {
					if told[o] || o <= mark {
						t.Fatalf("offset %d told twice, or below the mark %d", o, mark)
					}
					told[o] = true
				}
				for _, e := range model {
					if acked := e.offset <= mark || told[e.offset]; acked != e.settled {
						t.Fatalf("offset %d: acknowledged %v, settled %v", e.offset, acked, e.settled)
					}
				}
			},
			"": func(t *rapid.T) {
				if got, want := tr.unsettled(), len(model)-settled(); got != want {
					t.Fatalf("unsettled %d, want %d", got, want)
				}
				if got, want := tr.gap(), settled()-prefix(); got != want {
					t.Fatalf("gap %d, want %d", got, want)
				}
			},
		})
	})
}
