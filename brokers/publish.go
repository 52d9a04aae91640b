package brokers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// portion is how many messages of one Publish are prepared at a time.
const portion = 256

// call is a Publish that waits for its messages. Publisher.mu guards it.
type call struct {
	outs     []*Outbound // accepted and not reported, by index
	portion  []*Outbound // being accepted
	receipts []Receipt
	failures []PublishFailure
	left     int           // how many messages are not reported
	wake     chan struct{} // of one: left is 0
}

// Publish publishes msgs and returns when the broker has confirmed all of them,
// with a receipt each, in their order. Messages of one key are stored in the
// order of msgs.
//
// It sends again what fails for a reason that may pass, until ctx ends: a ctx
// without an end waits for ever. What was not sent by then, as far as the driver
// can tell, is withdrawn and NotSent; the rest is Unknown. If any message was not confirmed
// the error is a [*PublishError], which names them, and their receipts are zero.
// A message that breaks a rule (see [Check]) is Refused; its neighbours go on.
func (p *Publisher) Publish(ctx context.Context, msgs ...Message) ([]Receipt, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	c := p.newCall(len(msgs))
	for first := 0; first < len(msgs); first += portion {
		p.begin(ctx, c, msgs[first:min(first+portion, len(msgs))], first)
	}
	select {
	case <-c.wake:
	case <-ctx.Done():
		p.abandonCall(c, p.stalled(context.Cause(ctx)))
		<-c.wake
	}
	receipts, failures := c.receipts, c.failures
	p.endCall(c)
	if failures == nil {
		return receipts, nil
	}
	slices.SortFunc(failures, func(a, b PublishFailure) int { return cmp.Compare(a.Index, b.Index) })
	for i := range failures {
		failures[i].ID = msgs[failures[i].Index].ID
	}
	return receipts, &PublishError{Failures: failures, Of: len(msgs)}
}

func (p *Publisher) newCall(n int) *call {
	c, _ := p.calls.Get().(*call)
	if c == nil {
		c = &call{wake: make(chan struct{}, 1)}
	}
	c.outs = slices.Grow(c.outs[:0], n)[:n]
	c.receipts = make([]Receipt, n)
	c.left = n
	return c
}

// endCall keeps the call's memory for another, unless it is much.
func (p *Publisher) endCall(c *call) {
	c.receipts, c.failures = nil, nil
	if len(c.outs) > portion {
		c.outs = nil
	}
	p.calls.Put(c)
}

// begin accepts msgs, the first of which has index first in the call.
func (p *Publisher) begin(ctx context.Context, c *call, msgs []Message, first int) {
	outs := c.portion[:0]
	for i := range msgs {
		o := c.outbound(ctx, p, &msgs[i], first+i)
		if err := p.route(ctx, o); err != nil {
			p.refuse(o, err)
			continue
		}
		outs = append(outs, o)
	}
	n, err := p.accept(ctx, outs)
	for _, o := range outs[n:] {
		p.refuse(o, err)
	}
	clear(outs)
	c.portion = outs
}

func (c *call) outbound(ctx context.Context, p *Publisher, m *Message, index int) *Outbound {
	o := newOutbound(p, m)
	o.ctx, o.call, o.index = ctx, c, index
	return o
}

// refuse reports a message of a call that was not accepted.
func (p *Publisher) refuse(o *Outbound, err error) {
	p.mu.Lock()
	o.call.report(o.index, Receipt{}, asSendError(err))
	p.mu.Unlock()
	o.recycle()
}

// report books what became of one message.
func (c *call) report(index int, r Receipt, err *SendError) {
	c.outs[index] = nil
	if err == nil {
		c.receipts[index] = r
	} else {
		c.failures = append(c.failures, PublishFailure{Index: index, SendError: *err})
	}
	c.left--
	if c.left == 0 {
		c.wake <- struct{}{}
	}
}

// abandonCall gives up what is not reported yet.
func (p *Publisher) abandonCall(c *call, cause error) {
	p.mu.Lock()
	defer p.unlock()
	for _, o := range c.outs {
		if o != nil {
			p.abandon(o, cause)
		}
	}
}

// stalled adds to cause why the driver does not send, if it says.
func (p *Publisher) stalled(cause error) error {
	if s, ok := p.sender.(Staller); ok {
		if err := s.Stalled(); err != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
	return cause
}
