package rabbitmq

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"
)

// opened is a channel that was prepared, or why there is none.
type opened struct {
	ch  *amqp.Channel
	err error
}

// channel opens a channel on conn and prepares it. It waits for the server's
// answers until ctx ends, or the connection; what is opened after that is closed
// again. A server that does not answer for one channel may serve the others, so
// their connection is left alone.
func (l *link) channel(ctx context.Context, conn *connection, prepare func(*amqp.Channel) error) (*amqp.Channel, error) {
	done := make(chan opened)
	l.running.Go(func() {
		o := conn.prepared(prepare)
		select {
		case done <- o:
		case <-ctx.Done():
			if o.err == nil {
				_ = o.ch.Close() // nobody waits for it, or for what comes of it
			}
		}
	})
	select {
	case o := <-done:
		return o.ch, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *connection) prepared(prepare func(*amqp.Channel) error) opened {
	ch, err := c.Channel()
	if err != nil {
		return opened{err: err}
	}
	if err := prepare(ch); err != nil {
		_ = ch.Close() // it is closed by now, if the server said no
		return opened{err: err}
	}
	return opened{ch: ch}
}

// release closes a channel, which returns what was delivered on it and not
// acknowledged. It waits until the server has done so, or ctx ends; then it goes
// on in the background, until the connection ends.
func (l *link) release(ctx context.Context, ch *amqp.Channel) error {
	closed := make(chan error, 1)
	l.running.Go(func() { closed <- ch.Close() })
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
