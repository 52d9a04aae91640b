package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// reportsAtOnce is how many confirmations are reported together.
const reportsAtOnce = 256

// pipe is a channel in confirm mode, and what is unconfirmed on it. It ends with
// its channel.
type pipe struct {
	b    *Broker
	l    *link
	conn *connection
	ch   *amqp.Channel

	confirms <-chan amqp.Confirmation
	returns  <-chan amqp.Return
	lost     <-chan *amqp.Error
	done     chan struct{} // closed when all was reported

	mu  sync.Mutex
	out map[uint64]*sent // by the channel's number
	err error            // why the pipe has ended
}

// sent is an unconfirmed message.
type sent struct {
	o        *brokers.Outbound
	key      string
	returned *brokers.SendError
}

func openPipe(ctx context.Context, b *Broker, l *link) (*pipe, error) {
	conn, _, err := l.state()
	if conn == nil {
		return nil, err
	}
	p := &pipe{b: b, l: l, conn: conn, out: map[uint64]*sent{}, done: make(chan struct{})}
	opened := make(chan error, 1)
	l.running.Go(func() { opened <- p.open() })
	timeout, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	select {
	case err := <-opened:
		return p, err
	case <-timeout.Done():
		_ = conn.line.Close() // whoever does not answer this is no use to others
		return nil, fmt.Errorf("rabbitmq: no answer: %w", errors.Join(context.Cause(timeout), <-opened))
	}
}

func (p *pipe) open() error {
	ch, err := p.conn.Channel()
	if err != nil {
		return err
	}
	p.ch = ch
	// The client's reader hands over one event at a time. As it waits until run has
	// a return, run sees it before the confirmation of the same message.
	p.confirms = ch.NotifyPublish(make(chan amqp.Confirmation, 4*reportsAtOnce))
	p.returns = ch.NotifyReturn(make(chan amqp.Return))
	p.lost = ch.NotifyClose(make(chan *amqp.Error, 1))
	p.l.running.Go(p.run)
	return ch.Confirm(false)
}

// publish writes a message.
func (p *pipe) publish(o *brokers.Outbound, key string, out amqp.Publishing) {
	number := p.ch.GetNextPublishSeqNo()
	if err := p.put(number, &sent{o: o, key: key}); err != nil {
		o.Done(brokers.Receipt{}, notSent(err))
		return
	}
	err := p.ch.Publish(exchangeName(o.Message.Topic), key, true, false, out)
	if err == nil {
		return
	}
	if p.take(number) == nil {
		return // run has reported it
	}
	outcome := brokers.Unknown
	if errors.Is(err, amqp.ErrClosed) {
		outcome = brokers.NotSent
	}
	o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: outcome, Err: err})
}

func (p *pipe) put(number uint64, x *sent) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.out[number] = x
	}
	return p.err
}

func (p *pipe) take(number uint64) *sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.out[number]
	delete(p.out, number)
	return x
}

func (p *pipe) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil || p.ch.IsClosed()
}

// run reports what the server says, until the channel is closed.
func (p *pipe) run() {
	defer close(p.done)
	results := make([]brokers.Result, 0, reportsAtOnce)
	returns := p.returns
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			p.returned(&r)
		case c, ok := <-p.confirms:
			if !ok {
				p.fail(closeError(<-p.lost))
				return
			}
			results = p.gather(p.confirmed(results[:0], c))
			if len(results) > 0 {
				brokers.DoneAll(results)
				clear(results)
			}
		}
	}
}

// gather adds confirmations that are there by now.
func (p *pipe) gather(results []brokers.Result) []brokers.Result {
	for len(results) < reportsAtOnce {
		select {
		case c, ok := <-p.confirms:
			if !ok {
				return results // run finds it closed as well
			}
			results = p.confirmed(results, c)
		default:
			return results
		}
	}
	return results
}

// confirmed adds the result of a message.
func (p *pipe) confirmed(results []brokers.Result, c amqp.Confirmation) []brokers.Result {
	x := p.take(c.DeliveryTag)
	if x == nil {
		return results
	}
	r := brokers.Result{Outbound: x.o, Receipt: brokers.Receipt{
		Topic: x.o.Message.Topic, Partition: x.o.Partition, Offset: brokers.NoOffset,
	}}
	switch {
	case x.returned != nil:
		r.Receipt, r.Err = brokers.Receipt{}, x.returned
	case !c.Ack:
		// Another of its queues may have taken it.
		r.Receipt, r.Err = brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Unknown, Err: ErrNotAcknowledged}
	}
	return append(results, r)
}

// returned marks the message that the server has no queue for. Of several with
// the same ID and way, all are returned.
func (p *pipe) returned(r *amqp.Return) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.out {
		m := x.o.Message
		if x.returned == nil && m.ID == r.MessageId && exchangeName(m.Topic) == r.Exchange && x.key == r.RoutingKey {
			x.returned = &brokers.SendError{Outcome: brokers.Refused, Err: fmt.Errorf(
				"%w: exchange %q has no queue for routing key %q: %s", brokers.ErrUnroutable, r.Exchange, r.RoutingKey, r.ReplyText)}
			return
		}
	}
}

// fail reports all that is unconfirmed as unknown. Where a missing exchange is the
// cause, what exchanges are there is asked again; not where the connection is lost,
// as nobody could answer, and messages are taken meanwhile.
func (p *pipe) fail(err error) {
	missing := hasCode(err, amqp.NotFound)
	p.mu.Lock()
	p.err = err
	out := p.out
	p.out = nil
	p.mu.Unlock()
	for _, x := range out {
		if missing {
			p.b.topics.forget(x.o.Message.Topic)
		}
		x.o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Unknown, Err: err})
	}
}

// close closes the channel, which the connection outlives.
func (p *pipe) close() {
	closed := make(chan struct{})
	p.l.running.Go(func() {
		defer close(closed)
		_ = p.ch.Close() // nothing is unconfirmed, or it was given up
	})
	// A server that blocks does not answer. Then the end of the connection, which
	// others share, is the end of this as well.
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case <-closed:
	case <-p.conn.line.done:
	case <-patience.C:
		return
	}
	<-p.done
}
