package brokers

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// Receipt is the broker's confirmation of one message.
type Receipt struct {
	Topic     string
	Partition int32
	// Offset is where it lies; NoOffset where the broker does not say.
	Offset int64
	// Duplicate: the broker had a message of this ID already, and kept that.
	Duplicate bool
}

// Publisher publishes messages through a driver's [Sender]. It bounds what is
// buffered and in flight, keeps the order that its config asks for, sends again
// what failed for a reason that may pass, and reports each message once. All
// its methods may be called concurrently.
//
// The byte slices of a message are not copied: they must not change until its
// outcome is reported, and not even then if that is Unknown, as the driver may
// still be sending them.
//
// An idle Publisher has no goroutine. One that is not needed any more is closed.
type Publisher struct {
	sender    Sender
	cfg       PublisherConfig
	sequenced bool // the driver keeps the order and retries
	holds     bool // the driver says what it sends: see Holder
	byKey     *byKey
	seed      maphash.Seed
	born      time.Time // the zero of now
	calls     sync.Pool // of *call; not shared, as they hold channels

	// ctx is that of Send. It ends when Close gives up.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu         sync.Mutex // release it with unlock, which acts on what changed
	room       room
	lanes      []queue // by hash of topic and key; nil with OrderNone
	ready      queue   // may be sent now
	retries    retryHeap
	waited     queue // published by a Publish that waits, and not settled
	unwaited   queue // published asynchronously, and not settled, by deadline
	out        int   // how many the driver has
	unreported int
	accepted   uint64 // how many ever were
	flushes    []*flush
	alarm      alarm

	sending   bool // there is a goroutine in send
	flushNow  bool // the driver's Flush is due
	batch     []*Outbound
	reporting bool // there is a goroutine in report
	reports   []callback
	spare     []callback

	closing    bool
	givenUp    int           // how many messages Close gave up
	whyGivenUp error         // set when it did
	stopped    chan struct{} // closed when closing is over
	closeOnce  sync.Once
	closeError error
}

// NewPublisher returns a publisher over a driver's sender. It is for drivers;
// users call [Broker].Publisher. It does no I/O and starts no goroutine. An
// error wraps [ErrInvalid] and names the field.
func NewPublisher(sender Sender, features Features, cfg PublisherConfig) (*Publisher, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Publisher{
		sender:    sender,
		cfg:       cfg,
		sequenced: features.SequencedPublish,
		seed:      maphash.MakeSeed(),
		born:      time.Now(),
		room:      room{messages: cfg.MaxBuffered, bytes: cfg.MaxBufferedBytes},
		stopped:   make(chan struct{}),
	}
	_, p.holds = sender.(Holder)
	p.byKey, _ = cfg.Partitioner.(*byKey)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	if cfg.Order == OrderPerKey {
		p.lanes = make([]queue, lanes)
	}
	return p, nil
}

// PublishAsync publishes m and returns once it is buffered, which takes as long
// as the buffer is full. It returns a [*SendError], and never calls done, if m
// was not accepted: it breaks a rule, its partition cannot be told, ctx ended or
// the publisher is closed.
//
// Otherwise done, which must not be nil, is called exactly once, with the
// receipt or a *SendError. The calls of one key come in the order of publishing
// (with [OrderNone]: as the broker confirms). One call is made at a time, by a
// goroutine of the publisher. Room is given back when the broker has confirmed,
// not when done returns: so done may call PublishAsync, but calls that are slower
// than the broker pile up, and what takes long belongs elsewhere. It must not
// wait for Flush or Close, which wait for it.
//
// ctx bounds the acceptance only. The broker's answer is waited for until
// PublisherConfig.DeliveryTimeout has passed since.
func (p *Publisher) PublishAsync(ctx context.Context, m Message, done func(Receipt, error)) error {
	if done == nil {
		return &SendError{Outcome: Refused, Err: invalid("done", "is nil")}
	}
	o := newOutbound(p, &m)
	o.done = done
	err := p.route(ctx, o)
	if err == nil {
		_, err = p.accept(ctx, []*Outbound{o})
	}
	if err != nil {
		o.recycle()
		return err
	}
	return nil
}

// accept buffers outs, in order, as there is room. It returns how many it did,
// and why not all, as a *SendError.
func (p *Publisher) accept(ctx context.Context, outs []*Outbound) (int, error) {
	if ctx.Err() != nil {
		return 0, notSent(context.Cause(ctx))
	}
	p.mu.Lock()
	defer p.unlock()
	for i, o := range outs {
		if p.closing {
			return i, notSent(ErrClosed)
		}
		if !p.room.take(o.size) {
			if err := p.awaitRoom(ctx, o.size); err != nil {
				return i, notSent(err)
			}
		}
		p.enqueue(o)
	}
	return len(outs), nil
}

// enqueue puts a message that has its room where it is to wait.
func (p *Publisher) enqueue(o *Outbound) {
	p.accepted++
	p.unreported++
	o.number = p.accepted
	if o.call != nil {
		o.call.outs[o.index] = o
	}
	p.unsettled(o).push(inUnsettled, o)
	if o.call == nil && p.cfg.DeliveryTimeout > 0 {
		o.deadline = p.now() + p.cfg.DeliveryTimeout
		p.wakeAt(o.deadline)
	}
	if o.lane != nil {
		o.lane.push(inLane, o)
	}
	if o.lane == nil || p.sequenced || o.lane.first == o {
		p.makeReady(o)
	}
}

// unsettled is the queue that o is in until it is settled.
func (p *Publisher) unsettled(o *Outbound) *queue {
	if o.call != nil {
		return &p.waited
	}
	return &p.unwaited
}

func (p *Publisher) makeReady(o *Outbound) {
	o.place = placeReady
	p.ready.push(inReady, o)
}

// now is the time since the publisher was made, which is cheaper to have and to
// keep than a time.Time.
func (p *Publisher) now() time.Duration { return time.Since(p.born) }

// unlock lets go of mu after it has acted on what was changed under it.
func (p *Publisher) unlock() {
	p.room.grant()
	if !p.sending && (p.flushNow || p.canSend()) {
		p.sending = true
		go p.send()
	}
	if !p.reporting && len(p.reports) > 0 {
		p.reporting = true
		go p.report()
	}
	p.noteStopped()
	p.mu.Unlock()
}
