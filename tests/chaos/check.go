package chaos

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Check judges a history:
//   - Nothing is lost: every confirmed message was handled, by whomever. That
//     includes the fresh member at the end, so a position that passed what
//     nobody had handled shows as a loss.
//   - Order: a message is first handled after all its predecessors. Within a
//     tenure a key's numbers only grow, and a failed one is tried again before
//     its successors.
//   - Exclusion: of a key one handling runs at a time, and of a partition one
//     tenure at a time; one that was taken over starts nothing more.
//   - An acknowledgement covers only what was handled in its tenure.
//   - What was handled is handled again only if something was broken at the
//     time, or soon after; in transactions also by the next tenure, if the
//     low-water mark had not passed it.
//   - What a handler published is stored if its message was settled, and in the
//     order of those; once, and only if it was settled, where that was in
//     transactions.
func Check(h History, limits Limits) Verdict {
	c := newChecker(h, limits)
	for i := range h.Records {
		c.record(&h.Records[i])
	}
	c.end()
	return c.verdict
}

type checker struct {
	history History
	limits  Limits
	verdict Verdict
	faults  map[rule]int

	keys       map[string]*keyState
	partitions map[int32]*partitionState
	tenures    map[tenure]*tenureState
	lost       map[tenure]bool
	spans      map[tenure]span
	dead       map[string]bool
	excuses    []excuse
}

// keyState is what became of a key so far.
type keyState struct {
	outcomes  []Outcome
	due       int           // the first confirmed number that was not handled
	handled   map[int]int64 // number to the time of its last handling
	left      map[int]bool  // was given to the fresh member
	partition int32
	placed    bool // partition is known
}

// partitionState is who has a partition.
type partitionState struct {
	owner  tenure
	taken  map[tenure]int64 // former owners, and when the next one first started something
	epochs map[string]uint64
	open   []*handling
	acked  int64 // the highest low-water mark of any tenure
}

// tenureState is what happened to the keys of a tenure.
type tenureState struct {
	last    map[string]*handling // by key
	pending map[int64]*handling  // by offset: started and not handled
	acked   int64
}

// span is when a tenure first and last started something.
type span struct{ first, last int64 }

// handling is one run of a handler.
type handling struct {
	start *Record
	end   *Record // nil while it runs
	rival *Record // the first start that it ran beside of
}

func (h *handling) settled() bool { return h.end != nil && h.end.Kind == Handled }

func newChecker(h History, limits Limits) *checker {
	c := &checker{
		history: h, limits: limits, faults: map[rule]int{}, keys: map[string]*keyState{},
		partitions: map[int32]*partitionState{}, tenures: map[tenure]*tenureState{},
		lost: map[tenure]bool{}, spans: map[tenure]span{}, dead: map[string]bool{}, excuses: excusesOf(h.Records),
	}
	for key, outcomes := range h.Sent {
		k := &keyState{outcomes: outcomes, handled: map[int]int64{}, left: map[int]bool{}}
		k.skip()
		c.keys[key] = k
		for _, o := range outcomes {
			c.count(o)
		}
	}
	for i := range h.Records {
		c.foresee(&h.Records[i])
	}
	c.verdict.Losses = len(c.lost)
	return c
}

// foresee notes what is to be known of a tenure before its end.
func (c *checker) foresee(r *Record) {
	t := r.tenure()
	switch r.Kind {
	case Lost:
		c.lost[t] = true
	case Started:
		known, ok := c.spans[t]
		if !ok {
			known.first = r.Time
		}
		known.last = r.Time
		c.spans[t] = known
	case Handled, Failed, Cancelled, Acked, Died, Struck, Mended:
	}
}

func (c *checker) count(o Outcome) {
	switch o {
	case Confirmed:
		c.verdict.Confirmed++
	case NotSent:
		c.verdict.NotSent++
	case Unknown:
		c.verdict.Unknown++
	}
}

// skip moves due past what was handled and what need not be.
func (k *keyState) skip() {
	for ; k.due < len(k.outcomes); k.due++ {
		if _, handled := k.handled[k.due]; !handled && k.outcomes[k.due] == Confirmed {
			return
		}
	}
}

func (c *checker) partition(id int32) *partitionState {
	p := c.partitions[id]
	if p == nil {
		p = &partitionState{taken: map[tenure]int64{}, epochs: map[string]uint64{}, acked: brokers.NoOffset}
		c.partitions[id] = p
	}
	return p
}

func (c *checker) tenure(r *Record) *tenureState {
	t := c.tenures[r.tenure()]
	if t == nil {
		t = &tenureState{last: map[string]*handling{}, pending: map[int64]*handling{}, acked: brokers.NoOffset}
		c.tenures[r.tenure()] = t
	}
	return t
}

func (c *checker) record(r *Record) {
	if c.dead[r.Member] {
		c.fault(ruleJournal, "%s is by a member that had been killed", r)
	}
	switch r.Kind {
	case Started:
		c.started(r)
	case Handled, Failed, Cancelled:
		c.ended(r)
	case Acked:
		c.acked(r)
	case Died:
		c.died(r)
	case Lost, Struck, Mended: // known from the beginning
	default:
		c.fault(ruleJournal, "%s is of no known kind", r)
	}
}

// ended judges the end of a handling.
func (c *checker) ended(r *Record) {
	t, p := c.tenure(r), c.partition(r.Partition)
	h := t.last[r.Key]
	if h == nil || h.end != nil || h.start.Number != r.Number {
		c.fault(ruleJournal, "%s, and it was not started", r)
		return
	}
	h.end = r
	p.open = slices.DeleteFunc(p.open, func(x *handling) bool { return x == h })
	if h.rival != nil && !c.tolerated(h.start.tenure(), r.Time-h.rival.Time) {
		c.fault(ruleOverlap, "%s ran for %v beside of %s", h.start, time.Duration(r.Time-h.rival.Time), h.rival)
	}
	switch r.Kind {
	case Handled:
		delete(t.pending, r.Offset)
		k := c.keys[r.Key]
		if _, again := k.handled[r.Number]; again {
			c.verdict.Repeats++
		}
		k.handled[r.Number] = r.Time
		k.left[r.Number] = r.Member == Fresh
		k.skip()
	case Failed:
		c.verdict.Failed++
	default:
		c.verdict.Cancelled++
	}
}

// acked judges an acknowledgement by what its tenure has not settled.
func (c *checker) acked(r *Record) {
	t, p := c.tenure(r), c.partition(r.Partition)
	t.acked = max(t.acked, r.Offset)
	p.acked = max(p.acked, t.acked)
	for _, offset := range slices.Sorted(maps.Keys(t.pending)) {
		if offset > t.acked {
			return
		}
		c.fault(ruleAck, "offset %d, while %s was not handled", r.Offset, t.pending[offset].start)
		delete(t.pending, offset)
	}
}

// died ends what a killed member had in its hands.
func (c *checker) died(r *Record) {
	c.dead[r.Member] = true
	for _, p := range c.partitions {
		p.open = slices.DeleteFunc(p.open, func(h *handling) bool {
			if h.start.Member != r.Member {
				return false
			}
			if h.rival != nil && h.rival.Time < r.Time {
				c.fault(ruleOverlap, "%s ran beside of %s, and was killed later", h.start, h.rival)
			}
			return true
		})
	}
}

// end judges what is missing.
func (c *checker) end() {
	for _, key := range slices.Sorted(maps.Keys(c.keys)) {
		k := c.keys[key]
		c.verdict.Handled += len(k.handled)
		if c.history.Effects != nil {
			c.effects(key, k)
		}
		for ; k.due < len(k.outcomes); k.skip() {
			c.fault(ruleLoss, "key %q, number %d was confirmed and not handled by anybody", key, k.due)
			k.handled[k.due] = 0
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.partitions)) {
		for _, h := range c.partitions[id].open {
			c.fault(ruleJournal, "%s, and never ended", h.start)
		}
	}
	c.verdict.Tenures = len(c.tenures)
}

// String names what the record is about.
func (r *Record) String() string {
	return fmt.Sprintf("%s %s/%d by %q (partition %d, epoch %d, offset %d)",
		r.Kind, r.Key, r.Number, r.Member, r.Partition, r.Epoch, r.Offset)
}
