package memory

import "github.com/troupe-go/troupe/brokers"

// source is where an epoch's messages come from and its acknowledgements go.
type source interface {
	// take returns what is at hand within limit, as the caller's own.
	take(limit brokers.FetchLimit) []brokers.Message
	// settle applies an acknowledgement. It says whether a take that found no
	// room would find some now.
	settle(a brokers.Ack) (room bool)
	// lag is how many messages wait behind the last one taken.
	lag() int64
	// watch has c poked when there is more to take; end stops that and gives
	// back what is not settled: a later take finds nothing.
	watch(c chan struct{})
	end(c chan struct{})
}

// stream is the source of a partition that has one owner.
type stream struct {
	share  *share
	epoch  uint64
	window int // how many may be unsettled; 0 is no bound

	// Guarded by share.mu.
	cursor     cursor
	last       int64   // the last offset taken
	out        offsets // taken and not settled; empty if window is 0
	full       bool    // a take found no room
	ended      bool
	picked     []entry // scratch
	deliveries []int   // scratch
}

func newStream(s *share, epoch uint64, window int) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &stream{share: s, epoch: epoch, window: window, last: brokers.NoOffset}
	st.cursor = cursor{log: s.log, next: s.position}
	st.out.cut(s.position)
	return st
}

func (st *stream) take(limit brokers.FetchLimit) []brokers.Message {
	st.share.mu.Lock()
	st.pick(limit)
	st.share.mu.Unlock()
	out := handOut(st.picked, st.epoch)
	clear(st.picked)
	for i, n := range st.deliveries {
		out[i].DeliveryCount = n
	}
	return out
}

// pick fills picked and deliveries. It needs share.mu.
func (st *stream) pick(limit brokers.FetchLimit) {
	st.picked, st.deliveries = st.picked[:0], st.deliveries[:0]
	room := st.room(limit.Messages)
	if st.ended || room == 0 {
		return
	}
	s, l := st.share, st.share.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.position < l.base {
		s.moveTo(l.base)
	}
	for size := 0; len(st.picked) < room; {
		e, ok := s.next(&st.cursor)
		if !ok {
			return
		}
		if size += recordSize(e.raw); limit.Bytes > 0 && size > limit.Bytes && len(st.picked) > 0 {
			return
		}
		st.add(e)
	}
}

// room is how many of most may be taken now.
func (st *stream) room(most int) int {
	if st.window == 0 {
		return most
	}
	room := min(most, st.window-st.out.len())
	st.full = room <= 0
	return max(room, 0)
}

func (st *stream) add(e entry) {
	st.picked = append(st.picked, e)
	st.last = e.offset
	st.cursor.next = e.offset + 1
	if st.window > 0 {
		st.out.add(e.offset)
	}
	if n := st.share.delivered(e.offset); n > 0 {
		st.deliveries = append(st.deliveries, n)
	}
}

// settle ignores what was never taken, so that a wrong acknowledgement cannot
// pass a message that nobody settled.
func (st *stream) settle(a brokers.Ack) (room bool) {
	s := st.share
	s.mu.Lock()
	defer s.mu.Unlock()
	upTo := min(a.UpTo, st.last)
	s.settleTo(upTo + 1)
	st.out.cut(upTo + 1)
	for _, o := range a.Above {
		if st.out.remove(o) {
			s.settle(o)
		}
	}
	room = st.full && st.out.len() < st.window
	st.full = st.full && !room
	return room
}

func (st *stream) lag() int64 {
	st.share.mu.Lock()
	defer st.share.mu.Unlock()
	_, end := st.share.log.bounds()
	return end - st.cursor.next
}

func (st *stream) watch(c chan struct{}) { st.share.log.watch(c) }

func (st *stream) end(c chan struct{}) {
	st.share.log.unwatch(c)
	st.share.mu.Lock()
	defer st.share.mu.Unlock()
	st.ended = true
}
