package postgres

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// numbers are those of some spans.
func numbers(open spans) (all []int64) {
	for _, p := range open {
		for id := p.from; id <= p.to; id++ {
			all = append(all, id)
		}
	}
	return all
}

// A gap closes only when its fence has been passed, and what was seen does not close
// at all until it is done with.
func TestCursor(t *testing.T) {
	c := newCursor(0, nil, nil)
	c.saw([]int64{1, 4}, math.MaxInt64, 100)
	if _, unfenced := c.gaps(); !slices.Equal(numbers(c.open), []int64{1, 2, 3, 4}) || !unfenced {
		t.Fatalf("open %v", c.open)
	}
	c.fence(103)
	c.saw([]int64{1, 2, 4}, math.MaxInt64, 102)
	if got := numbers(c.open.without([]int64{4, 1})); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("before the fence %v are open", got)
	}
	c.saw([]int64{1, 2, 4}, math.MaxInt64, 103)
	if got := numbers(c.open.without([]int64{1, 4})); !slices.Equal(got, []int64{2}) {
		t.Errorf("after the fence %v are open", got)
	}
}

// A gap closes beside a transaction that has nothing to do with it, as soon as those
// have ended who wrote when it was first looked for them; not while one of them may be
// there under another name.
func TestCursorWriters(t *testing.T) {
	for name, test := range map[string]struct {
		looks []map[string]bool
		open  bool
	}{
		"nobody wrote":   {[]map[string]bool{{}}, false},
		"ended":          {[]map[string]bool{{"1/2": true}, {"1/3": true}}, false},
		"one of two":     {[]map[string]bool{{"1/2": true, "1/3": true}, {"1/3": true}}, true},
		"prepared since": {[]map[string]bool{{"1/2": true}, {prepared: true}}, true},
		"looked once":    {[]map[string]bool{{"1/2": true}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCursor(0, nil, nil)
			c.saw([]int64{3}, math.MaxInt64, 100)
			c.fence(103)
			for _, look := range test.looks {
				c.writing(look)
			}
			c.saw([]int64{2, 3}, math.MaxInt64, 100)
			c.pass([]int64{2, 3})
			if open := slices.Equal(numbers(c.open), []int64{1}); open != test.open {
				t.Errorf("open: %v", numbers(c.open))
			}
		})
	}
}

// A number that is far beyond makes one span, and when there are too many the reader
// looks no further.
func TestCursorIsBounded(t *testing.T) {
	c := newCursor(0, nil, nil)
	c.saw([]int64{1_000_000_000}, math.MaxInt64, 1)
	if len(c.open) != 2 || c.full() {
		t.Errorf("%d spans", len(c.open))
	}
	var visible []int64
	for i := range int64(maxSpans) {
		visible = append(visible, c.hi+2+2*i)
	}
	c.saw(append([]int64{1_000_000_000}, visible...), math.MaxInt64, 1)
	if c.pass(visible); !c.full() {
		t.Errorf("%d spans", len(c.open))
	}
}

// A world of transactions that take numbers, and end in any order: whatever a
// reader looks at, and however it is cut short or begun again, it gives up no number
// that is committed.
func TestCursorLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		w := &world{running: make(map[int64][]int64), visible: make(map[int64]bool), xid: 1}
		c, done := newCursor(0, nil, nil), make(map[int64]bool)
		for range 200 {
			switch random.IntN(8) {
			case 0:
				w.begin(random)
			case 7:
				w.more(random)
			case 1, 2:
				w.end(random)
			case 3: // another relay begins where this one has stored its place
				from, to := c.open.bounds()
				c = newCursor(c.hi, from, to)
			case 4:
				c.writing(w.writers())
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
		if len(c.open) > 0 {
			t.Fatalf("%v stay open", numbers(c.open))
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

// more has a transaction take numbers long after it began.
func (w *world) more(random *rand.Rand) {
	for xid := range w.running {
		w.id++
		w.running[xid] = append(w.running[xid], w.id)
		if random.IntN(2) == 0 {
			return
		}
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

// writers are the transactions that have taken numbers, by name.
func (w *world) writers() map[string]bool {
	names := make(map[string]bool)
	for xid, ids := range w.running {
		if len(ids) > 0 {
			names[strconv.FormatInt(xid, 10)] = true
		}
	}
	return names
}

// read is what a shard does: up to n rows, and a fence for new gaps.
func read(c *cursor, w *world, done map[int64]bool, n int) int {
	var ids []int64
	for id := range w.visible {
		if c.open.has(id) || id > c.hi {
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
	if _, unfenced := c.gaps(); unfenced {
		w.xid++
		c.fence(w.xid)
	}
	for _, id := range ids {
		done[id] = true
	}
	c.pass(ids)
	return len(ids)
}
