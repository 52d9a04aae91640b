package memory

import (
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

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
	last       int64       // the last offset taken
	out        offsets.Set // taken and not settled; empty if window is 0
	full       bool        // a take found no room
	ended      bool
	picked     []run // scratch
	deliveries []int // scratch
}

func newStream(s *share, epoch uint64, window int) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &stream{share: s, epoch: epoch, window: window, last: brokers.NoOffset}
	st.cursor = cursor{log: s.log, next: s.position}
	st.out.Cut(s.position)
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
	left := limit.Bytes
	for room > 0 {
		r := s.next(&st.cursor, room)
		fits := r
		if limit.Bytes > 0 {
			fits, left = r.within(left)
		}
		if fits.len() == 0 && len(st.picked) == 0 {
			fits = r.cut(1)
		}
		if fits.len() > 0 {
			st.add(fits)
		}
		if fits.len() == 0 || fits.len() < r.len() {
			return
		}
		room -= fits.len()
	}
}

// room is how many of most may be taken now.
func (st *stream) room(most int) int {
	if st.window == 0 {
		return most
	}
	room := min(most, st.window-st.out.Len())
	st.full = room <= 0
	return max(room, 0)
}

func (st *stream) add(r run) {
	st.picked = append(st.picked, r)
	st.cursor.next = r.end()
	st.last = r.end() - 1
	for o := r.first; st.window > 0 && o < r.end(); o++ {
		st.out.Add(o)
	}
	st.deliveries = st.share.countDeliveries(st.deliveries, r)
}

// settle ignores what was never taken, so that a wrong acknowledgement cannot
// pass a message that nobody settled.
func (st *stream) settle(a brokers.Ack) (room bool) {
	s := st.share
	s.mu.Lock()
	defer s.mu.Unlock()
	upTo := min(a.UpTo, st.last)
	s.settleTo(upTo + 1)
	st.out.Cut(upTo + 1)
	for _, o := range a.Above {
		if st.out.Remove(o) {
			s.settle(o)
		}
	}
	room = st.full && st.out.Len() < st.window
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
