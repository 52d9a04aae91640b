package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/troupe-go/troupe/brokers"
)

// generatedID begins ids that the driver gives to messages without one, so that
// a returned message is known again. Receivers do not see them.
const generatedID = "troupe~"

// sender is the driver's half of a Publisher. It has a channel of its own on one of
// the connections that publish.
type sender struct {
	b *Broker
	l *link

	// Used by Send only, which one goroutine at a time calls, and by Close after
	// the last one.
	pipe *pipe
	ids  uint64
}

var (
	_ brokers.Sender  = (*sender)(nil)
	_ brokers.Staller = (*sender)(nil)
)

// Partitions implements [brokers.Sender]. While the server does not answer it
// asks again, for as long as the publisher's caller waits.
func (s *sender) Partitions(ctx context.Context, name string) (int, error) {
	for failures := 0; ; failures++ {
		n, err := s.b.topics.get(ctx, name)
		if err == nil || !unanswered(err) || !s.b.control.pause(ctx, failures) {
			return n, err
		}
	}
}

// Stalled implements [brokers.Staller].
func (s *sender) Stalled() error {
	if conn, _, err := s.l.state(); conn == nil {
		return err
	}
	return s.l.blockage()
}

// Flush implements [brokers.Sender]: nothing is held back.
func (s *sender) Flush() {}

// Send implements [brokers.Sender].
func (s *sender) Send(ctx context.Context, batch []*brokers.Outbound) {
	p, err := s.open(ctx)
	for _, o := range batch {
		if err == nil {
			err = p.conn.line.room(ctx)
		}
		if err != nil {
			o.Done(brokers.Receipt{}, notSent(err))
			continue
		}
		s.send(ctx, p, o)
	}
}

// open returns the channel to publish on, a new one if that before is lost.
func (s *sender) open(ctx context.Context) (*pipe, error) {
	if err := s.Stalled(); err != nil {
		return nil, err
	}
	if s.pipe != nil && !s.pipe.ended() {
		return s.pipe, nil
	}
	p, err := openPipe(ctx, s.b, s.l)
	if err != nil {
		return nil, err
	}
	s.pipe = p
	return p, nil
}

// send puts one message on the wire, or reports why not.
func (s *sender) send(ctx context.Context, p *pipe, o *brokers.Outbound) {
	m := o.Message
	if err := s.known(ctx, o); err != nil {
		o.Done(brokers.Receipt{}, err)
		return
	}
	if m.ID == "" {
		s.ids++
		m.ID = generatedID + strconv.FormatUint(s.ids, 36)
	}
	out, err := encode(m)
	if err == nil {
		err = s.b.server.checkSize(m)
	}
	if err != nil {
		o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Refused, Err: err})
		return
	}
	key := m.RoutingKey
	if key == "" {
		key = strconv.Itoa(int(o.Partition))
	}
	p.publish(o, key, out)
}

// known fails for a message to an exchange that does not exist, which would
// close the channel under its neighbours.
func (s *sender) known(ctx context.Context, o *brokers.Outbound) error {
	n, err := s.b.topics.get(ctx, o.Message.Topic)
	switch {
	case err != nil && errors.Is(err, brokers.ErrInvalid):
		return &brokers.SendError{Outcome: brokers.Refused, Err: err}
	case err != nil:
		return notSent(err)
	case int(o.Partition) >= n:
		return &brokers.SendError{Outcome: brokers.Refused, Err: fmt.Errorf(
			"%w: topic %q has no partition %d", brokers.ErrInvalid, o.Message.Topic, o.Partition)}
	}
	return nil
}

// checkSize refuses what would close the connection.
func (v server) checkSize(m *brokers.Message) error {
	limit := 128 << 20
	if v.major >= 4 {
		limit = 16 << 20
	}
	if len(m.Payload) > limit {
		return fmt.Errorf("%w: Message.Payload has %d bytes, and the limit of RabbitMQ %s is %d", brokers.ErrTooLarge, len(m.Payload), v.version, limit)
	}
	return nil
}

func notSent(err error) *brokers.SendError {
	return &brokers.SendError{Outcome: brokers.NotSent, Err: err}
}

// Close implements [brokers.Sender].
func (s *sender) Close() error {
	if s.pipe != nil {
		s.pipe.close()
	}
	s.b.pool.giveBack(s.l)
	s.b.open.Published(s)
	return nil
}
