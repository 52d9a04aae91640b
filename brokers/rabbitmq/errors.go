package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

var (
	// ErrBlocked says that the server takes no messages, as it does when memory
	// or disk runs out; the text has its reason. Publishing waits and goes on by
	// itself.
	ErrBlocked = errors.New("rabbitmq: publishing is blocked")
	// ErrNotAcknowledged says that the server did not take a message, as when a
	// queue with a length limit rejects it. Sending it again may help.
	ErrNotAcknowledged = errors.New("rabbitmq: the server did not acknowledge")
)

// hasCode says whether err is the server's, of that code.
func hasCode(err error, code int) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Server && said.Code == code
}

// unanswered says whether err means that the server did not answer, as opposed to
// having said no. What it says of the whole connection (320 and 5xx, as when it
// shuts down) passes.
func unanswered(err error) bool {
	var said *amqp.Error
	var mismatch *TopologyMismatchError
	if errors.Is(err, brokers.ErrUnsupported) || errors.As(err, &mismatch) {
		return false
	}
	if errors.As(err, &said) && said.Server {
		return said.Code == amqp.ConnectionForced || said.Code >= 500 && said.Code != amqp.NotAllowed && said.Code != amqp.NotImplemented
	}
	return !errors.Is(err, brokers.ErrInvalid) && !errors.Is(err, brokers.ErrUnknownTopic) && !errors.Is(err, brokers.ErrClosed)
}

// do runs requests on a channel of their own, as each that fails closes its
// channel. It waits for the connection within ctx, and RequestTimeout for the
// answers.
func (l *link) do(ctx context.Context, request func(*amqp.Channel) error) error {
	conn, err := l.wait(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	done := make(chan error, 1)
	l.running.Go(func() { done <- conn.with(request) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("rabbitmq: no answer: %w", context.Cause(ctx))
	}
}

// with runs requests on a new channel.
func (c *connection) with(request func(*amqp.Channel) error) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	err = request(ch)
	if !ch.IsClosed() {
		err = errors.Join(err, ch.Close())
	}
	return err
}
