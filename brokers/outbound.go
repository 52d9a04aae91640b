package brokers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errDeliveryTimeout is why a message published asynchronously was given up.
var errDeliveryTimeout = fmt.Errorf("brokers: delivery timeout: %w", context.DeadlineExceeded)

// Outbound is one message on its way through a [Sender]. It is the driver's from
// Send until Done, and must not be touched afterwards: it is used again.
type Outbound struct {
	// Message is what to send. The sender may read it until Done, and give it an
	// ID where it has none.
	Message *Message
	// Partition is where to.
	Partition int32
	// Attempt is 1 for the first sending.
	Attempt int

	// What is touched most lies together.
	publisher *Publisher
	size      int
	deadline  time.Duration // by Publisher.now; 0 is never

	// Who is told: the call that waits, or done.
	done  func(Receipt, error)
	call  *call
	index int
	ctx   context.Context // the call's

	// Guarded by Publisher.mu.
	number  uint64 // its place among all that were accepted
	lane    *queue // nil where there is no order to keep
	links   [linkages]link
	place   place
	out     bool // the driver has it
	begun   bool // and may have sent it, if it is a Holder
	settled bool // what became of it is final
	told    bool // and was reported
	unsure  bool // an attempt may have been stored
	trouble *trouble

	message Message
}

// trouble is what few messages have.
type trouble struct {
	err     error         // of the last attempt
	due     time.Duration // when the next is
	inHeap  int           // the place among those that wait for it
	expiry  context.Context
	cancel  context.CancelFunc
	receipt Receipt // receipt and failure while predecessors are not settled
	failure *SendError
}

// needTrouble returns o.trouble, and makes it first if it has none.
func (o *Outbound) needTrouble() *trouble {
	if o.trouble == nil {
		o.trouble = &trouble{}
	}
	return o.trouble
}

// place is where a message waits that the driver does not have.
type place uint8

const (
	placeNone  place = iota // nowhere, or in its lane behind others
	placeReady              // to be sent
	placeRetry              // for its back-off to end
)

var outbounds = sync.Pool{New: func() any { return new(Outbound) }}

func newOutbound(p *Publisher, m *Message) *Outbound {
	o := outbounds.Get().(*Outbound)
	o.publisher = p
	o.message = *m
	o.Message = &o.message
	return o
}

// recycle ends the life of o.
func (o *Outbound) recycle() {
	if t := o.trouble; t != nil && t.cancel != nil {
		t.cancel()
	}
	*o = Outbound{}
	outbounds.Put(o)
}

// Done reports the message confirmed (err nil) or not (a [*SendError]; any other
// error counts as Unknown). It never blocks. It panics if the message was
// reported already.
func (o *Outbound) Done(r Receipt, err error) {
	p := o.publisher
	if p == nil {
		panic("brokers: Done of a message that the sender does not have")
	}
	p.mu.Lock()
	defer p.unlock()
	if !o.out {
		panic("brokers: Done of a message that the sender does not have")
	}
	p.returned(o, r, err)
}

// Result is what became of one message; see [Outbound.Done].
type Result struct {
	Outbound *Outbound
	Receipt  Receipt
	Err      error
}

// doneTogether is how many messages are reported at a time, as nobody publishes
// meanwhile.
const doneTogether = 256

// DoneAll is Done of several messages of one publisher, in that order. It costs
// much less than each by itself, where others publish at the same time.
func DoneAll(results []Result) {
	for len(results) > 0 {
		n := min(len(results), doneTogether)
		doneSome(results[:n])
		results = results[n:]
	}
}

func doneSome(results []Result) {
	p := results[0].Outbound.publisher
	if p == nil {
		panic("brokers: DoneAll of a message that the sender does not have")
	}
	p.mu.Lock()
	defer p.unlock()
	for i := range results {
		r := &results[i]
		if r.Outbound.publisher != p || !r.Outbound.out {
			panic("brokers: DoneAll of a message that the sender does not have")
		}
		p.returned(r.Outbound, r.Receipt, r.Err)
	}
}

// Context ends when nobody waits for the message any more, or its time is over.
// A driver that only wants to know whether it has ended asks Err, which is
// cheaper.
func (o *Outbound) Context() context.Context {
	if o.ctx != nil {
		return o.ctx
	}
	p := o.publisher
	if o.deadline == 0 {
		return p.ctx
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := o.needTrouble()
	if t.expiry == nil {
		t.expiry, t.cancel = context.WithDeadlineCause(p.ctx, p.born.Add(o.deadline), errDeliveryTimeout)
	}
	return t.expiry
}

// Err says why the message need not be sent any more; nil while it must be.
func (o *Outbound) Err() error { return o.unwanted(o.publisher.now()) }

func (o *Outbound) unwanted(now time.Duration) error {
	switch {
	case o.ctx != nil && o.ctx.Err() != nil:
		return context.Cause(o.ctx)
	case o.late(now):
		return errDeliveryTimeout
	case o.publisher.ctx.Err() != nil:
		return context.Cause(o.publisher.ctx)
	}
	return nil
}

// late says whether its time was over at now.
func (o *Outbound) late(now time.Duration) bool {
	return o.deadline != 0 && now >= o.deadline
}

// gaveUp is the error of a message that is not sent any more because of cause.
func (o *Outbound) gaveUp(cause error) *SendError {
	e := notSent(cause)
	if o.out && (o.begun || !o.publisher.holds) || o.unsure {
		e.Outcome = Unknown
	}
	if t := o.trouble; t != nil && t.err != nil {
		e.Err = fmt.Errorf("%w; last attempt failed: %w", cause, t.err)
	}
	return e
}

func notSent(cause error) *SendError { return &SendError{Outcome: NotSent, Err: cause} }

// asSendError is a driver's error as the contract has it.
func asSendError(err error) *SendError {
	if e, ok := err.(*SendError); ok { //nolint:errorlint // the common case, and the cheap one
		return e
	}
	var e *SendError
	if errors.As(err, &e) {
		return &SendError{Outcome: e.Outcome, Err: err}
	}
	return &SendError{Outcome: Unknown, Err: err}
}
