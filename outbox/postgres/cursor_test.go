package postgres

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A gap closes only when its fence has been passed, and what was seen does not close
// at all until it is done with.
func TestCursor(t *testing.T) {
	c := newCursor(0, nil)
	c.saw([]int64{1, 4}, math.MaxInt64, 100)
	if got := c.without(nil); !slices.Equal(got, []int64{1, 2, 3, 4}) || !c.unfenced() {
		t.Fatalf("open %v", got)
	}
	c.fence(103)
	c.saw([]int64{1, 2, 4}, math.MaxInt64, 102)
	if got := c.without([]int64{1, 4}); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("before the fence %v are open", got)
	}
	c.saw([]int64{1, 2, 4}, math.MaxInt64, 103)
	if got := c.without([]int64{1, 4}); !slices.Equal(got, []int64{2}) {
		t.Errorf("after the fence %v are open", got)
	}
}

// A world of transactions that take numbers, and end in any order: whatever a
// reader looks at, and however it is cut short or begun again, it gives up no number
// that is committed.
func TestCursorLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		w := &world{running: make(map[int64][]int64), visible: make(map[int64]bool), xid: 1}
		c, done := newCursor(0, nil), make(map[int64]bool)
		for range 200 {
			switch random.IntN(6) {
			case 0:
				w.begin(random)
			case 1, 2:
				w.end(random)
			case 3: // another relay begins where this one has stored its place
				c = newCursor(c.hi, c.without(nil))
			default:
				read(c, w, done, 1+random.IntN(5))
			}
		}
		for len(w.running) > 0 {
			w.end(random)
		}
		for range 3 {
			for read(c, w, done, 1000) > 0 {
			}
		}
		for id := range w.visible {
			if !done[id] {
				t.Fatalf("%d is lost", id)
			}
		}
		if open := c.without(nil); len(open) > 0 {
			t.Fatalf("%v stay open", open)
		}
	})
}

// world is the database.
type world struct {
	xid, id int64
	running map[int64][]int64 // numbers by transaction
	visible map[int64]bool
}

func (w *world) begin(random *rand.Rand) {
	w.xid++
	for range random.IntN(4) {
		w.id++
		w.running[w.xid] = append(w.running[w.xid], w.id)
	}
	if w.running[w.xid] == nil {
		w.running[w.xid] = []int64{}
	}
}

func (w *world) end(random *rand.Rand) {
	for xid, ids := range w.running {
		if random.IntN(3) > 0 {
			for _, id := range ids {
				w.visible[id] = true
			}
		}
		delete(w.running, xid)
		return
	}
}

func (w *world) xmin() int64 {
	oldest := w.xid + 1
	for xid := range w.running {
		oldest = min(oldest, xid)
	}
	return oldest
}

// read is what a shard does: up to n rows, and a fence for new gaps.
func read(c *cursor, w *world, done map[int64]bool, n int) int {
	var ids []int64
	for id := range w.visible {
		if _, open := c.open[id]; open || id > c.hi {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	last := int64(math.MaxInt64)
	if len(ids) >= n {
		ids = ids[:n]
		last = ids[n-1]
	}
	c.saw(ids, last, w.xmin())
	if c.unfenced() {
		w.xid++
		c.fence(w.xid)
	}
	for _, id := range ids {
		done[id] = true
		delete(c.open, id)
	}
	return len(ids)
}
