package rabbitmq

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// mail is a broker's mailbox, one for each connection that publishes.
type mail struct {
	b    *Broker
	turn chan struct{} // of one: who opens
	box  *mailbox      // whoever has the turn looks at it
}

func newMail(b *Broker) *mail { return &mail{b: b, turn: make(chan struct{}, 1)} }

// get returns a mailbox that is open, as soon as the server takes messages.
func (m *mail) get(ctx context.Context) (*mailbox, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for failures := 0; ; failures++ {
		conn, err := m.b.publish.clear(ctx)
		if err != nil {
			return nil, err
		}
		if m.box != nil && m.box.conn == conn && !m.box.over() {
			return m.box, nil
		}
		if m.box, err = openMailbox(ctx, m.b, conn); err == nil {
			return m.box, nil
		}
		m.box = nil
		if !unanswered(err) {
			return nil, err
		}
		if !m.b.publish.pause(ctx, failures) {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// mailbox is a channel by which requests and replies go out, and replies to this
// client come in. It ends with its channel.
type mailbox struct {
	b    *Broker
	conn *connection
	ch   *amqp.Channel

	mu      sync.Mutex
	last    uint64
	waiting map[string]chan<- answer // by the correlation id on the wire
	err     error                    // why it has ended
}

// answer is a reply, or why there is none.
type answer struct {
	reply *amqp.Delivery
	err   error
}

func openMailbox(ctx context.Context, b *Broker, conn *connection) (*mailbox, error) {
	x := &mailbox{b: b, conn: conn, waiting: map[string]chan<- answer{}}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	var replies <-chan amqp.Delivery
	var returns chan amqp.Return
	ch, err := b.publish.channel(ctx, conn, func(ch *amqp.Channel) (err error) {
		returns = ch.NotifyReturn(make(chan amqp.Return, 16))
		if err := declareRequests(ch); err != nil {
			return err
		}
		replies, err = ch.Consume(directReply, "", true, false, false, false, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: exchange %q: %w", requestExchange, err)
	}
	x.ch = ch
	b.publish.running.Go(func() { x.receive(replies, returns) })
	return x, nil
}

func declareRequests(ch *amqp.Channel) error {
	return ch.ExchangeDeclare(requestExchange, amqp.ExchangeDirect, true, false, false, false, nil)
}

// receive hands over what comes, until the channel is closed.
func (x *mailbox) receive(replies <-chan amqp.Delivery, returns <-chan amqp.Return) {
	for replies != nil || returns != nil {
		select {
		case d, ok := <-replies:
			if !ok {
				replies = nil
				continue
			}
			x.answer(d.CorrelationId, answer{reply: &d})
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			x.answer(r.CorrelationId, answer{err: fmt.Errorf("%w: topic %q", brokers.ErrNoResponders, r.RoutingKey)})
		}
	}
	x.end()
}

// answer tells who waits; a late one is nobody's.
func (x *mailbox) answer(id string, a answer) {
	x.mu.Lock()
	to := x.waiting[id]
	delete(x.waiting, id)
	x.mu.Unlock()
	if to != nil {
		to <- a // it has room
	}
}

func (x *mailbox) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = errCut
	for id, to := range x.waiting {
		to <- answer{err: fmt.Errorf("%w: %w", errReplyLost, errCut)}
		delete(x.waiting, id)
	}
}

func (x *mailbox) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err != nil || x.ch.IsClosed()
}

// ask publishes a request and waits for what comes of it.
func (x *mailbox) ask(ctx context.Context, topic string, out amqp.Publishing) (*amqp.Delivery, error) {
	answers := make(chan answer, 1)
	id, err := x.expect(answers)
	if err != nil {
		return nil, err
	}
	defer x.forget(id)
	out.CorrelationId = id
	if err := x.put(ctx, requestExchange, topic, true, out); err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-x.b.publish.ctx.Done():
		return nil, fmt.Errorf("%w: %w", errReplyLost, brokers.ErrClosed)
	}
}

func (x *mailbox) expect(answers chan<- answer) (id string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return "", x.err
	}
	x.last++
	id = strconv.FormatUint(x.last, 36)
	x.waiting[id] = answers
	return id, nil
}

func (x *mailbox) forget(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.waiting, id)
}

// put writes a message as soon as there is room.
func (x *mailbox) put(ctx context.Context, exchange, key string, mandatory bool, out amqp.Publishing) error {
	if err := x.conn.line.room(ctx); err != nil {
		return err
	}
	if err := x.ch.Publish(exchange, key, mandatory, false, out); err != nil {
		return fmt.Errorf("rabbitmq: %w", err)
	}
	return nil
}
