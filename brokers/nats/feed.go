package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// Why a feed is over, and its epoch with it.
var (
	errPinLost  = errors.New("the server has pinned another member")
	errGone     = errors.New("the consumer is gone")
	errHole     = errors.New("a delivery was lost on the way")
	errRepeated = errors.New("a message came again that was not held")
	errRefused  = errors.New("the server refuses to deliver")
	errLease    = errors.New("the server was not heard for too long")
	errReleased = errors.New("given back")
)

// feed is what one member has with one consumer: its requests, what comes of
// them, and what it acknowledges, from when it stands by until its epoch ends.
// The server numbers deliveries; the feed is over as soon as one is missing.
type feed struct {
	nc     *nats.Conn
	lane   *lane
	inbox  string // with a dot at the end
	sub    *nats.Subscription
	ctx    context.Context // ends when the feed is over
	cancel context.CancelCauseFunc

	mu       sync.Mutex    // release it with unlock, which sends what is due
	changed  chan struct{} // of one, for Fetch
	progress chan struct{} // of one, for the lane
	err      error         // why it is over
	delivery *Delivery
	memory   *memory // what an epoch before this one has settled
	wakes    int     // how often it woke the partition; the lane's

	pin      string
	consumer uint64 // consumer sequence of the last delivery
	counted  int    // how often that message was delivered
	highest  uint64 // stream sequence
	behind   uint64 // how many messages lay behind the last one

	queue   queue
	bytes   int             // in queue
	ledger  ledger          // fetched and not settled
	flowing bool            // the queue is in order, and what comes continues it
	seen    map[uint64]bool // while it is not: what came in this round of collecting
	late    []uint64        // what came when the feed was over

	pulls pulls
	acks  acks

	releaseOnce sync.Once
	released    error
}

// newFeed subscribes to an inbox of its own.
func newFeed(l *lane) (*feed, error) {
	f := &feed{
		nc: l.sub.b.nc, lane: l,
		inbox:    l.sub.b.nc.NewInbox() + ".",
		delivery: &Delivery{Stream: l.topic.stream, Consumer: l.consumer},
		memory:   l.recall(),
		changed:  make(chan struct{}, 1),
		progress: make(chan struct{}, 1),
		seen:     map[uint64]bool{},
		pulls:    pulls{open: map[uint64]pull{}},
	}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	sub, err := f.nc.Subscribe(f.inbox+"*", f.receive)
	if err != nil {
		return nil, err
	}
	// Pulls bound what is on its way.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, errors.Join(err, sub.Unsubscribe())
	}
	f.sub = sub
	return f, nil
}

// unlock lets go of mu and does what came to be due under it.
func (f *feed) unlock() {
	due := f.pulls.due
	f.pulls.due = nil
	f.mu.Unlock()
	for _, r := range due {
		f.request(r)
	}
}

// fail ends the feed. It needs f.mu.
func (f *feed) fail(cause error) {
	if f.err != nil {
		return
	}
	f.err = cause
	f.acks.stop()
	f.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, cause))
	f.signal()
}

// end is fail for those who do not have f.mu.
func (f *feed) end(cause error) {
	f.mu.Lock()
	defer f.unlock()
	f.fail(cause)
}

// over says why the feed has ended; nil while it has not.
func (f *feed) over() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// signal wakes those who wait for a change.
func (f *feed) signal() {
	for _, c := range [...]chan struct{}{f.changed, f.progress} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// receive is called by the client with whatever comes to the inbox.
func (f *feed) receive(m *nats.Msg) {
	f.mu.Lock()
	defer f.unlock()
	d, ok := parseDelivery(m.Reply)
	switch {
	case f.err != nil:
		if ok {
			f.giveBackLate(m, d)
		}
		return
	case !ok:
		f.answered(m)
		return
	}
	if err := f.follow(m, d); err != nil {
		f.fail(err)
		return
	}
	f.pulls.delivered()
	switch {
	case f.flowing && d.seq <= f.highest:
		f.repeated(d.seq)
	case wakes(m), f.memory.settled(d.seq):
		f.note(d.seq)
		f.acknowledge(d.seq)
		f.refill()
	case f.note(d.seq):
		if f.lane.prefix() {
			d.count = 0 // the server forgets it when the consumer is rewound
		}
		out := decode(m, d, f.delivery.Stream)
		if f.lane.mapped {
			out.RoutingKey = m.Subject
		}
		f.enqueue(out)
	}
	f.signal()
}

// giveBackLate takes a delivery that comes while the feed gives back what it has.
func (f *feed) giveBackLate(m *nats.Msg, d delivery) {
	if errors.Is(f.err, errReleased) && f.follow(m, d) == nil {
		f.late = append(f.late, d.seq)
	}
}

// follow checks that a delivery is for this feed's pin, and the next one.
func (f *feed) follow(m *nats.Msg, d delivery) error {
	pin := ""
	if values := m.Header[pinHeader]; len(values) > 0 {
		pin = values[0]
	}
	if f.pin == "" {
		f.pin, f.delivery.Pin = pin, pin
		f.acks.prefix = ackPrefix(m.Reply)
	}
	if pin != f.pin {
		return errPinLost
	}
	if f.consumer != 0 && d.consumer != f.consumer+1 {
		return fmt.Errorf("%w: number %d follows %d", errHole, d.consumer, f.consumer)
	}
	f.consumer, f.counted, f.behind = d.consumer, d.count, d.pending
	return nil
}

// note books a message that came; false if it is in the queue already, as may
// be while collecting.
func (f *feed) note(seq uint64) bool {
	f.highest = max(f.highest, seq)
	if f.flowing {
		return true
	}
	f.seen[seq] = true
	return !f.queued(seq)
}

// enqueue adds a message to the queue.
func (f *feed) enqueue(m brokers.Message) {
	m.Topic, m.Partition = f.lane.slot.Topic, f.lane.slot.Partition
	m.Broker = f.delivery
	size := m.Size()
	f.pulls.size += (size - f.pulls.size) / 8
	f.bytes += size
	f.queue.push(m)
}

// repeated takes a delivery of a message that came before in this epoch. One
// that is held, or whose acknowledgement is on its way, needs nothing: AckWait has
// passed. Any other is one that the feed did not know to be unacknowledged, so its
// order is broken.
func (f *feed) repeated(seq uint64) {
	if f.acks.unconfirmed(seq) || f.ledger.has(seq) || f.queued(seq) {
		f.refill()
		return
	}
	f.fail(fmt.Errorf("%w: sequence %d", errRepeated, seq))
}

func (f *feed) queued(seq uint64) bool {
	waiting := f.queue.list()
	for i := range waiting {
		if waiting[i].Offset == int64(seq) {
			return true
		}
	}
	return false
}

// take removes messages from the queue, as a Fetch of limit wants them.
func (f *feed) take(limit brokers.FetchLimit, epoch uint64) []brokers.Message {
	n, size := 0, 0
	waiting := f.queue.list()
	for n < len(waiting) && n < max(limit.Messages, 1) {
		next := waiting[n].Size()
		if n > 0 && limit.Bytes > 0 && size+next > limit.Bytes {
			break
		}
		size += next
		n++
	}
	taken := f.queue.take(n)
	f.bytes -= size
	for i := range taken {
		taken[i].Epoch = epoch
		f.ledger.fetched(uint64(taken[i].Offset))
	}
	f.refill()
	return taken
}

// lag is how many messages wait behind the last fetched one.
func (f *feed) lag() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(f.behind) + int64(f.queue.len())
}

// answered takes what is no message: the end of a pull, or the confirmation of
// acknowledgements. It needs f.mu.
func (f *feed) answered(m *nats.Msg) {
	name := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	if burst, ok := strings.CutPrefix(name, burstMark); ok {
		f.acks.confirmed(burst)
		return
	}
	f.pullEnded(name, m)
}
