package requests

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/brokers"
)

// Handle answers requests of type Q to a topic with a function, until the
// Responder is closed. m has key, headers and correlation of the request. An
// error is answered as data ([brokers.ReplyErrorOf]): return a
// [*brokers.ReplyError] to choose the code. A request of another type name than
// Q's is answered with CodeInvalid.
func Handle[Q, P any](ctx context.Context, c Client, cfg brokers.RespondConfig, answer func(ctx context.Context, q Q, m *brokers.Message) (P, error)) (brokers.Responder, error) {
	name := orName[Q]("")
	return c.Broker.Respond(ctx, cfg, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		if got := typeOf(m); got != name {
			return brokers.Message{}, unknownType(got)
		}
		q, err := decode[Q](c.codec(), m)
		if err != nil {
			return brokers.Message{}, invalid(err)
		}
		p, err := answer(ctx, q, m)
		if err != nil {
			return brokers.Message{}, err
		}
		return encode(c, p)
	})
}

func encode(c Client, p any) (brokers.Message, error) {
	var reply brokers.Message
	if err := c.codec().Encode(p, &reply); err != nil {
		return reply, fmt.Errorf("requests: encode %T: %w", p, err)
	}
	return reply, nil
}

func typeOf(m *brokers.Message) string {
	name, _ := m.Headers.Get(typeHeader)
	return string(name)
}

func invalid(err error) error {
	return &brokers.ReplyError{Code: brokers.CodeInvalid, Message: err.Error()}
}

func unknownType(name string) error {
	return invalid(fmt.Errorf("requests: nobody here answers a %q", name))
}
