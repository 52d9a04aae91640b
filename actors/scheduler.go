package actors

import (
	"iter"
	"maps"

	"github.com/troupe-go/troupe/brokers"
)

// item is one thing for a key to handle: a message of a partition, or a letter
// sent to the key's PID. Items of a fetched batch lie in one slice, which lives
// until the last of them is done: whoever makes one wait for long makes a copy.
type item struct {
	message  *brokers.Message // nil for a letter
	letter   *letter          // nil for a message
	next     *item
	place    uint64 // in the tracker; messages only
	size     int32  // bytes, for the limits
	detached bool   // copied out of its batch already
	stashes  uint8  // how often it was stashed
	known    bool   // its group has handled it before, durably
	fate     fate
}

// fate is what becomes of an item that was handled.
type fate uint8

const (
	fateSettled fate = iota // nothing is owed for it
	fateDecided             // its effects are still to be confirmed
	fateStashed             // put aside by its handler
)

// cellState says where a key stands.
type cellState uint8

const (
	cellIdle    cellState = iota // nothing to do
	cellReady                    // queued for a worker
	cellRunning                  // with a worker
	cellWaiting                  // for its back-off, a dead letter's confirmation or an operator
)

// cell is one key: its queue, its state, and its actor while it has one. A
// million idle ones fit in memory, so what few keys need hangs off pointers.
type cell struct {
	key        string
	head, tail *item
	queued     int32
	letters    int32 // of the queued ones
	debts      int32 // decisions that must be published again before anything starts
	state      cellState
	kind       cellKind
	held       bool      // its queue counts as held
	burying    bool      // its dead letter is not confirmed
	leaving    bool      // its actor is to end when nothing waits for it
	single     bool      // one item a turn, to find the one that cannot be committed
	ready      *cell     // the next in the run queue
	value      any       // the user's actor; nil until the first message
	extra      *extras   // timers, stash, children
	deciding   *decision // the last one, while its effects are on their way
	trouble    *trouble  // what went wrong with its head, and has not been mended
	older      *cell     // neighbours in the idle list, which is ordered by age
	newer      *cell
	idleSince  int64 // nanoseconds on the region's clock
}

// cellKind says how a cell is found.
type cellKind uint8

const (
	cellKeyed     cellKind = iota // in the map, under its key
	cellLane                      // the lane of a whole partition or of its keyless messages
	cellEphemeral                 // for one message without order; found by nobody
	cellRefused                   // for one message that has no key and must have one
)

// scheduler says which key runs next, and keeps each key's items in order. It
// is pure: no clock, no lock, no I/O; its caller holds the region's lock.
//
// A key is in one of four states. Only one worker has it at a time; what it
// takes of the queue it works off from the front, and puts the rest back at the
// front, so nothing of a key is overtaken.
type scheduler struct {
	cells map[string]*cell
	peak  int   // the most cells that the map has held, as it never shrinks
	lane  *cell // keyless messages, or all of them

	first, last *cell // run queue
	readyCells  int

	oldest, newest *cell // idle list
	idle           int

	running   int // cells with a worker
	waiting   map[*cell]struct{}
	held      int // messages queued behind (and at the head of) waiting keys
	heldBytes int // their size

	spare  *cell // free list
	spares int
}

const (
	maxSpares = 256  // cells kept for the next keys
	smallMap  = 1024 // cells for which the map need not shrink
)

func newScheduler() *scheduler {
	return &scheduler{cells: make(map[string]*cell), waiting: make(map[*cell]struct{})}
}

// keyed returns the cell of a key, made if need be.
func (s *scheduler) keyed(key []byte) *cell {
	if c := s.cells[string(key)]; c != nil {
		return c
	}
	c := s.newCell(string(key), cellKeyed)
	s.cells[c.key] = c
	s.peak = max(s.peak, len(s.cells))
	return c
}

// laneCell returns the one cell that stands for no key in particular.
func (s *scheduler) laneCell() *cell {
	if s.lane == nil {
		s.lane = s.newCell("", cellLane)
	}
	return s.lane
}

// ephemeral returns a cell for one message that has no order to keep.
func (s *scheduler) ephemeral(key string) *cell { return s.newCell(key, cellEphemeral) }

func (s *scheduler) newCell(key string, kind cellKind) *cell {
	c := s.spare
	if c == nil {
		return &cell{key: key, kind: kind}
	}
	s.spare = c.ready
	s.spares--
	*c = cell{key: key, kind: kind}
	return c
}

// add queues an item behind those of its key.
func (s *scheduler) add(c *cell, it *item) {
	it.next = nil
	if c.tail == nil {
		c.head = it
	} else {
		c.tail.next = it
	}
	c.tail = it
	c.queued++
	switch c.state {
	case cellIdle:
		s.unlinkIdle(c)
		s.makeReady(c)
	case cellWaiting:
		if c.held {
			s.hold(it, 1)
		}
	}
}

// prepend puts a chain of n items back at the front.
func (s *scheduler) prepend(c *cell, chain *item, n int32) {
	last := chain
	for last.next != nil {
		last = last.next
	}
	last.next = c.head
	if c.tail == nil {
		c.tail = last
	}
	c.head = chain
	c.queued += n
}

// hold counts an item of a waiting key.
func (s *scheduler) hold(it *item, n int) {
	if it.message != nil {
		s.held += n
		s.heldBytes += n * int(it.size)
	}
}

// all are the cells in no order, but for idle and running ones that nobody can
// find.
func (s *scheduler) all() iter.Seq[*cell] {
	return func(yield func(*cell) bool) {
		for _, c := range s.cells {
			if !yield(c) {
				return
			}
		}
		if s.lane != nil && !yield(s.lane) {
			return
		}
		for c := s.first; c != nil; c = c.ready {
			if !c.found() && !yield(c) {
				return
			}
		}
		for c := range s.waiting {
			if !c.found() && !yield(c) {
				return
			}
		}
	}
}

// found says whether a message can find the cell.
func (c *cell) found() bool { return c.kind == cellKeyed || c.kind == cellLane }

func (s *scheduler) makeReady(c *cell) {
	c.state = cellReady
	c.ready = nil
	if s.last == nil {
		s.first = c
	} else {
		s.last.ready = c
	}
	s.last = c
	s.readyCells++
}

// next takes the key that has been ready for longest and up to n of its items,
// as a chain. It returns nil if no key is ready.
func (s *scheduler) next(n int32) (c *cell, chain *item, taken int32) {
	c = s.first
	if c == nil {
		return nil, nil, 0
	}
	s.first = c.ready
	if s.first == nil {
		s.last = nil
	}
	c.ready = nil
	s.readyCells--
	chain, taken = s.take(c, n)
	return c, chain, taken
}

// take makes c run and detaches up to n items from its queue.
func (s *scheduler) take(c *cell, n int32) (chain *item, taken int32) {
	c.state = cellRunning
	s.running++
	chain = c.head
	last := chain
	for taken = 1; taken < n && last.next != nil; taken++ {
		last = last.next
	}
	c.head = last.next
	if c.head == nil {
		c.tail = nil
	}
	last.next = nil
	c.queued -= taken
	return chain, taken
}

// pop takes the head of a cell's queue.
func (s *scheduler) pop(c *cell) *item {
	it := c.head
	c.head = it.next
	if c.head == nil {
		c.tail = nil
	}
	it.next = nil
	c.queued--
	return it
}

// finish ends the turn of c: it is ready again if it has items, idle otherwise.
func (s *scheduler) finish(c *cell, now int64) {
	s.running--
	s.settleState(c, now)
}

func (s *scheduler) settleState(c *cell, now int64) {
	if c.head != nil {
		s.makeReady(c)
		return
	}
	c.state = cellIdle
	s.linkIdle(c, now)
}

// wait ends the turn of c, which then starts nothing until wake. If it waits for
// long, its messages count as held rather than as in flight.
func (s *scheduler) wait(c *cell, long bool) {
	s.running--
	c.state = cellWaiting
	c.held = long
	s.waiting[c] = struct{}{}
	if long {
		for it := c.head; it != nil; it = it.next {
			s.hold(it, 1)
		}
	}
}

// wake lets a waiting key run again.
func (s *scheduler) wake(c *cell, now int64) {
	if c.state != cellWaiting {
		return
	}
	delete(s.waiting, c)
	if c.held {
		for it := c.head; it != nil; it = it.next {
			s.hold(it, -1)
		}
	}
	s.settleState(c, now)
}

// linkIdle appends c to the idle list, where the oldest comes first.
func (s *scheduler) linkIdle(c *cell, now int64) {
	c.idleSince = now
	c.older, c.newer = s.newest, nil
	if s.newest == nil {
		s.oldest = c
	} else {
		s.newest.newer = c
	}
	s.newest = c
	s.idle++
}

func (s *scheduler) unlinkIdle(c *cell) {
	if c.older == nil && s.oldest != c {
		return // new, and in no list yet
	}
	if c.older == nil {
		s.oldest = c.newer
	} else {
		c.older.newer = c.newer
	}
	if c.newer == nil {
		s.newest = c.older
	} else {
		c.newer.older = c.older
	}
	c.older, c.newer = nil, nil
	s.idle--
}

// forget drops an idle cell; its next message makes a new one.
func (s *scheduler) forget(c *cell) {
	s.unlinkIdle(c)
	switch c.kind {
	case cellKeyed:
		delete(s.cells, c.key)
		s.shrink()
	case cellLane:
		s.lane = nil
	}
	if s.spares == maxSpares {
		*c = cell{}
		return
	}
	*c = cell{ready: s.spare}
	s.spare = c
	s.spares++
}

// shrink gives back the memory of a map that once was much larger.
func (s *scheduler) shrink() {
	if s.peak <= smallMap || len(s.cells) > s.peak/4 {
		return
	}
	smaller := make(map[string]*cell, len(s.cells))
	maps.Copy(smaller, s.cells)
	s.cells, s.peak = smaller, len(smaller)
}
