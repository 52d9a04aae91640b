package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// Why a feed is over, and its epoch with it.
var (
	errCancelled = errors.New("the server cancelled the consumer, as when its queue is deleted")
	errReleased  = errors.New("given back")
)

// maxPrefetch is the most that AMQP can say.
const maxPrefetch = 1<<16 - 1

// feed is one channel that consumes from one queue: what it delivers, and what is
// acknowledged on it. It ends with its channel, and never has another.
type feed struct {
	l        *link
	slot     balance.Slot
	ours     int           // of what is published without a routing key, those below it are the driver's
	interval time.Duration // how long acknowledgements are gathered
	burst    int           // how many are not
	ch       *amqp.Channel
	lost     chan *amqp.Error
	ctx      context.Context // ends when the feed is over
	cancel   context.CancelCauseFunc
	first    chan struct{} // closed at the first delivery
	changed  chan struct{} // of one, for Fetch

	mu    sync.Mutex
	err   error // why it is over
	begun bool  // something was delivered
	queue []brokers.Message
	acks  acks
	timer *time.Timer
	set   bool // timer

	sending     sync.Mutex // held, before mu, while acknowledgements are sent
	releaseOnce sync.Once
	released    error
}

// openFeed consumes from a queue. It waits for the server's answers until ctx
// ends.
func (s *subscription) openFeed(ctx context.Context, slot balance.Slot, from source) (*feed, error) {
	conn, err := s.b.control.wait(ctx)
	if err != nil {
		return nil, err
	}
	prefetch := min(s.cfg.MaxUnsettled, maxPrefetch)
	f := &feed{
		l: s.b.control, slot: slot, ours: from.partitions,
		interval: s.cfg.AckInterval, burst: max(1, prefetch/4),
		lost: make(chan *amqp.Error, 1), first: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	f.ch, err = s.b.control.channel(ctx, conn, func(ch *amqp.Channel) error {
		ch.NotifyClose(f.lost)
		if err := ch.Qos(prefetch, 0, false); err != nil {
			return err
		}
		queue, err := from.declare(ch)
		if err != nil {
			return err
		}
		deliveries, err := ch.Consume(queue, s.tag(), false, false, false, false, nil)
		if err != nil {
			return err
		}
		s.b.control.running.Go(func() { f.receive(deliveries) })
		return nil
	})
	if err != nil {
		f.cancel(err)
		return nil, fmt.Errorf("rabbitmq: queue %q: %w", from.queue.Name, err)
	}
	return f, nil
}

// receive takes what is delivered until the channel ends, or its consumer.
func (f *feed) receive(deliveries <-chan amqp.Delivery) {
	const atOnce = 64
	batch := make([]brokers.Message, 0, atOnce)
	for d := range deliveries {
		batch = append(batch[:0], f.decode(&d))
		for more := true; more && len(batch) < atOnce; {
			select {
			case d, ok := <-deliveries:
				if more = ok; ok {
					batch = append(batch, f.decode(&d))
				}
			default:
				more = false
			}
		}
		f.enqueue(batch)
	}
	select {
	case err, ok := <-f.lost:
		if ok {
			f.end(closeError(err))
			return
		}
		f.end(errReleased)
	default:
		f.end(errCancelled)
	}
}

// decode is a message as a subscription delivers it.
func (f *feed) decode(d *amqp.Delivery) brokers.Message {
	m := FromDelivery(d)
	m.Topic, m.Partition = f.slot.Topic, f.slot.Partition
	if n, err := strconv.Atoi(m.RoutingKey); err == nil && n >= 0 && n < f.ours {
		m.RoutingKey = "" // it is the driver's
	}
	return m
}

func (f *feed) enqueue(batch []brokers.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return // it is returned with the channel
	}
	if !f.begun {
		f.begun = true
		close(f.first)
	}
	f.queue = append(f.queue, batch...)
	signal(f.changed)
}

// end ends the feed.
func (f *feed) end(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail(cause)
}

// fail is end for those who have f.mu. It says whether the feed was not over.
func (f *feed) fail(cause error) bool {
	if f.err != nil {
		return false
	}
	f.err, f.queue = cause, nil
	if f.timer != nil {
		f.timer.Stop()
	}
	f.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, cause))
	signal(f.changed)
	return true
}

// over says why the feed has ended; nil while it has not.
func (f *feed) over() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// take removes messages from the queue, as a Fetch of limit wants them.
func (f *feed) take(limit brokers.FetchLimit, epoch uint64) []brokers.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, size := 0, 0
	for n < len(f.queue) && n < max(limit.Messages, 1) {
		next := f.queue[n].Size()
		if n > 0 && limit.Bytes > 0 && size+next > limit.Bytes {
			break
		}
		size += next
		n++
	}
	if n == 0 {
		return nil
	}
	taken := f.queue[:n:n]
	f.queue = f.queue[n:]
	if len(f.queue) == 0 {
		f.queue = nil
	}
	for i := range taken {
		taken[i].Epoch = epoch
	}
	f.acks.fetched = taken[n-1].Offset
	return taken
}

// settle notes what was settled, to be acknowledged soon.
func (f *feed) settle(a brokers.Ack) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return context.Cause(f.ctx)
	}
	f.acks.settle(a.UpTo, a.Above, a.Rejected)
	f.schedule()
	return nil
}

// schedule sees to it that what is settled is acknowledged. It needs f.mu.
func (f *feed) schedule() {
	n := f.acks.pending()
	soon := n >= f.burst
	if n == 0 || f.set && !soon {
		return
	}
	after := f.interval
	if soon {
		after = 0
	}
	f.set = true
	if f.timer == nil {
		f.timer = time.AfterFunc(after, f.acknowledge)
		return
	}
	f.timer.Reset(after)
}

// acknowledge sends what is due.
func (f *feed) acknowledge() {
	f.sending.Lock()
	defer f.sending.Unlock()
	f.mu.Lock()
	f.set = false
	if f.err != nil {
		f.mu.Unlock()
		return
	}
	v := f.acks.plan()
	f.mu.Unlock()
	_ = f.send(v) // it fails only if the channel has ended, which receive learns
}

// send writes acknowledgements and rejections. It does not block: see coalesced.
func (f *feed) send(v verdicts) error {
	for _, tag := range v.rejected {
		if err := f.ch.Reject(uint64(tag), false); err != nil {
			return err
		}
	}
	if v.multiple > 0 {
		if err := f.ch.Ack(uint64(v.multiple), true); err != nil {
			return err
		}
	}
	for _, tag := range v.single {
		if err := f.ch.Ack(uint64(tag), false); err != nil {
			return err
		}
	}
	return nil
}

// release ends the feed, sends the last acknowledgements and closes the channel,
// which gives back what is not acknowledged, in order. If ctx ends it goes on
// without waiting. An error means that acknowledged messages may come again.
// Later calls return the first one's result.
func (f *feed) release(ctx context.Context) error {
	f.releaseOnce.Do(func() { f.released = f.giveBack(ctx) })
	return f.released
}

func (f *feed) giveBack(ctx context.Context) error {
	f.sending.Lock() // what was being sent is
	f.mu.Lock()
	acknowledged := f.acks.upTo > 0 || f.acks.due.Len()+f.acks.singles.Len() > 0
	var last verdicts
	if f.err == nil {
		last = f.acks.plan()
	}
	alive := f.stop()
	f.mu.Unlock()
	var err error
	if alive {
		err = f.send(last)
	}
	f.sending.Unlock()
	// Only when the server has closed the channel has it all acknowledgements.
	err = errors.Join(err, f.l.release(ctx, f.ch))
	f.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, errReleased))
	if !alive {
		err = f.over()
	}
	if err == nil || !acknowledged {
		return nil
	}
	return fmt.Errorf("rabbitmq: the last acknowledgements are not confirmed: %w", err)
}

// stop ends what is fetched and acknowledged, not yet the context, and says
// whether the feed was not over. It needs f.mu.
func (f *feed) stop() bool {
	if f.err != nil {
		return false
	}
	f.err, f.queue = errReleased, nil
	if f.timer != nil {
		f.timer.Stop()
	}
	signal(f.changed)
	return true
}

// signal wakes one who waits, or who comes to.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
