package kafka

import (
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

// feed is what an epoch reads of its partition, and how far it has settled that.
type feed struct {
	place
	fetcher *fetcher
	more    chan struct{} // of one: there may be something to read

	// Of who calls Fetch.
	decoder decoder
	held    *brokers.Message // read, and too large for the last Fetch
	spared  offsets.Set      // what earlier owners have settled

	mu       sync.Mutex
	segments []segment // not read
	next     int64     // where to fetch on
	end      int64     // of the log, as it was said at last
	ended    bool      // nothing is fetched or settled any more
	err      error     // why nothing comes
	corrupt  error     // why what came cannot be read

	delivered int64 // the last offset that Fetch returned
	cursor    int64 // what is below was read, or is no message
	upTo      int64 // as Ack has said
	memo      memo
	committed int64 // the position that the cluster has
	sent      memoMark
	doubt     bool // a position was sent whose fate is not known, and may arrive late

	// Guarded by the fetcher's lock.
	queue    feedQueue
	failures int
}

// memoMark tells whether a memo has changed since it was sent.
type memoMark struct {
	upTo    int64
	settled int
}

// feedQueue is where the fetcher has a feed.
type feedQueue uint8

const (
	feedIdle     feedQueue = iota // it has enough
	feedDue                       // to be fetched
	feedUnderWay                  // in a request
	feedStuck                     // it failed, and is tried again later
)

// newFeed returns the feed of an epoch that begins where at says.
func newFeed(f *fetcher, p place, epoch uint64, at beginning) *feed {
	return &feed{
		place: p, fetcher: f, more: make(chan struct{}, 1),
		decoder: decoder{
			topic: p.topic, partition: p.partition, epoch: epoch, next: at.offset,
			committed: f.limits.committed, maxInflated: f.maxInflated,
		},
		spared: at.spared, memo: at.memo,
		next: at.offset, end: at.end, cursor: at.offset, committed: at.offset,
		delivered: at.offset - 1, upTo: at.offset - 1,
		sent: memoMark{at.offset - 1, at.memo.settled.Len()},
	}
}

// take returns what is at hand within limit.
func (f *feed) take(limit brokers.FetchLimit) []brokers.Message {
	limit.Messages = max(limit.Messages, 1)
	var out []brokers.Message
	size := 0
	for len(out) < limit.Messages {
		if out == nil {
			if n := f.atHand(limit.Messages); n > 0 {
				out = make([]brokers.Message, 0, n)
			}
		}
		m, err := f.message(&out)
		if err != nil {
			f.refetch(err)
		}
		if m == nil {
			break
		}
		if size += m.Size() + idLength(m); len(out) > 1 && limit.Bytes > 0 && size > limit.Bytes {
			held := *m
			f.held = &held
			out = out[:len(out)-1]
			break
		}
	}
	f.noteTaken(out)
	identify(out)
	return out
}

// message appends the next message to out; nil if none is at hand.
func (f *feed) message(out *[]brokers.Message) (*brokers.Message, error) {
	if f.held != nil {
		*out = append(*out, *f.held)
		f.held = nil
		return &(*out)[len(*out)-1], nil
	}
	for {
		if !f.decoder.more() && !f.load() {
			return nil, nil
		}
		m := extend(out)
		ok, err := f.decoder.read(m)
		if ok && !f.spared.Has(m.Offset) {
			return m, nil
		}
		*m = brokers.Message{}
		*out = (*out)[:len(*out)-1]
		if err != nil {
			return nil, err
		}
	}
}

// extend makes out longer by a message, which is zero, as all is that out has room
// for: to make it so again would cost as much as to decode a record.
func extend(out *[]brokers.Message) *brokers.Message {
	n := len(*out)
	if n < cap(*out) {
		*out = (*out)[:n+1]
	} else {
		*out = slices.Grow(*out, 1)[:n+1]
		clear((*out)[n:cap(*out)])
	}
	return &(*out)[n]
}

// atHand estimates how many messages can be taken, most at most.
func (f *feed) atHand(most int) int {
	n := f.decoder.atHand()
	if f.held != nil {
		n++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.segments {
		n += f.segments[i].records
	}
	return min(n, most)
}

// load has the decoder go on with the next segment; false if there is none.
func (f *feed) load() bool {
	f.mu.Lock()
	if len(f.segments) == 0 || f.ended {
		f.mu.Unlock()
		return false
	}
	s := f.segments[0]
	f.segments[0] = segment{}
	if f.segments = f.segments[1:]; len(f.segments) == 0 {
		f.segments = nil
	}
	f.mu.Unlock()
	f.fetcher.taken(f, len(s.data))
	f.decoder.load(s)
	return true
}

// noteTaken notes what Fetch is about to return.
func (f *feed) noteTaken(out []brokers.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(out) > 0 {
		f.delivered = out[len(out)-1].Offset
		f.corrupt = nil
	}
	f.cursor = f.decoder.next
	if f.held != nil {
		f.cursor = f.held.Offset
	}
}

// unread is how many bytes lie here that the decoder has not begun. It needs the
// lock.
func (f *feed) unread() (bytes int) {
	for i := range f.segments {
		bytes += len(f.segments[i].data)
	}
	return bytes
}

// refetch has what could not be read fetched once more, from where the fault is.
func (f *feed) refetch(err error) {
	f.mu.Lock()
	f.corrupt = err
	dropped := f.unread()
	f.segments, f.next = nil, f.decoder.next
	f.mu.Unlock()
	f.fetcher.spoilt(f, dropped, err)
}

// arrived takes what a fetch from an offset has brought. It returns how many
// bytes it keeps.
func (f *feed) arrived(from int64, got *fetched) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end, f.err = got.end, nil
	if f.ended || from != f.next {
		return 0 // what was asked for is not wanted any more
	}
	s := got.segment
	end := s.scan(from)
	if end == from && !f.malformed(&s) {
		return 0
	}
	f.next = end
	f.segments = append(f.segments, s)
	select {
	case f.more <- struct{}{}:
	default:
	}
	return len(s.data)
}

// malformed says whether a segment without a whole batch is one that the decoder
// is to complain of, and not just cut short.
func (f *feed) malformed(s *segment) bool {
	if len(s.data) < minBatch {
		return false
	}
	d := decoder{next: f.next}
	d.load(*s)
	return d.nextBatch() != nil
}

// settle takes an acknowledgement; false if the feed has ended.
func (f *feed) settle(a brokers.Ack) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	if a.UpTo > f.upTo {
		f.upTo = min(a.UpTo, f.delivered)
		f.memo.settled.Cut(f.upTo + 1)
	}
	for _, o := range a.Above {
		if o > f.upTo && o <= f.delivered && o-f.upTo < maxSettledSpan {
			f.memo.settled.Add(o)
		}
	}
	return true
}

// acknowledged returns up to where messages are settled, and whether none can be any
// more.
func (f *feed) acknowledged() (upTo int64, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.upTo, f.ended
}

// position is where the next owner is to begin. It needs the lock.
func (f *feed) position() int64 {
	at := f.upTo + 1
	if f.upTo >= f.delivered {
		at = f.cursor
	}
	return max(f.memo.settled.Gap(at), f.committed)
}

// progress is how far an epoch has come.
type progress struct {
	position int64
	mark     memoMark
	text     string // of the memo, if changed
	changed  bool   // the cluster does not have it yet
	final    bool   // nothing is settled any more
}

// progress returns what is to be committed.
func (f *feed) progress() progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := progress{position: f.position(), mark: memoMark{f.upTo, f.memo.settled.Len()}, final: f.ended}
	p.changed = p.position != f.committed || p.mark != f.sent || f.doubt && f.ended
	if p.changed {
		p.text = f.memo.text(p.position)
	}
	return p
}

// stored notes what the cluster has.
func (f *feed) stored(p progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.committed, f.sent = max(f.committed, p.position), p.mark
	f.doubt = f.doubt && !f.ended
}

// unanswered notes that it is not known whether the cluster has what was sent. It
// may yet arrive, behind later ones: the last one of the epoch is sent in any case.
func (f *feed) unanswered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubt = true
}

// stop ends the feed: nothing is settled any more.
func (f *feed) stop() {
	f.mu.Lock()
	f.ended = true
	dropped := f.unread()
	f.segments = nil
	f.mu.Unlock()
	f.fetcher.forget(f, dropped)
}

// complain notes why nothing comes; false if nothing is to come any more.
func (f *feed) complain(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	return !f.ended
}

func (f *feed) isCorrupt() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.corrupt != nil
}

// lag is how many messages wait behind the last one taken, or more where offsets
// are no messages.
func (f *feed) lag() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end < 0 {
		return -1
	}
	return max(f.end-f.cursor, 0)
}

// fault is why nothing comes; nil if all is well.
func (f *feed) fault() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.corrupt != nil {
		return f.corrupt
	}
	return f.err
}
