package requests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// typeHeader names the type of a request's payload.
const typeHeader = "type"

// Client is what requests travel by. It is a value, used concurrently.
type Client struct {
	// Broker carries them. Required.
	Broker brokers.Requests
	// Codec turns values into payloads and back; both sides must have the same.
	// Defaults to actors.JSON.
	Codec actors.Codec
}

func (c Client) codec() actors.Codec {
	if c.Codec == nil {
		return actors.JSON{}
	}
	return c.Codec
}

// To is who is asked, and what goes with the question.
type To struct {
	// Topic that is served. Required.
	Topic string
	// Key whose actor is to answer; nil where a function does.
	Key []byte
	// Type is the request's type name. Defaults to the Go type's name.
	Type string
	// Headers travel with the request. The name "type" is taken.
	Headers brokers.Headers
	// CorrelationID travels too. Defaults to none.
	CorrelationID string
}

// Ask sends q and waits for the answer until ctx ends, or for
// brokers.DefaultRequestTimeout if it has no deadline. While the key's partition
// is on the move, so that nobody has handled the request, it is sent again, with
// a growing wait. Other errors are those of [brokers.Requests], and of the codec.
func Ask[Q, P any](ctx context.Context, c Client, to To, q Q) (P, error) {
	var none P
	m := brokers.Message{Topic: to.Topic, Key: to.Key, CorrelationID: to.CorrelationID}
	if err := c.codec().Encode(q, &m); err != nil {
		return none, fmt.Errorf("requests: encode %T: %w", q, err)
	}
	m.Headers = append(m.Headers, to.Headers...)
	m.Headers = append(m.Headers, brokers.Header{Key: typeHeader, Value: []byte(orName[Q](to.Type))})
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, brokers.DefaultRequestTimeout)
		defer cancel()
	}
	reply, err := persist(ctx, c.Broker, m)
	if err != nil {
		return none, err
	}
	return decode[P](c.codec(), &reply)
}

// persist asks until somebody has handled the request. When ctx ends its error
// also says why nobody had.
func persist(ctx context.Context, broker brokers.Requests, m brokers.Message) (brokers.Message, error) {
	const longest = 500 * time.Millisecond
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, longest) {
		reply, err := broker.Request(ctx, m)
		if !hasCode(err, brokers.CodeNotOwned) {
			return reply, err
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return reply, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-timer.C:
		}
	}
}

func hasCode(err error, code string) bool {
	var e *brokers.ReplyError
	return errors.As(err, &e) && e.Code == code
}

func orName[Q any](name string) string {
	if name != "" {
		return name
	}
	t := reflect.TypeFor[Q]()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// decode reads a payload as a P; a P that is a pointer is made first.
func decode[P any](codec actors.Codec, m *brokers.Message) (P, error) {
	var p P
	var into any = &p
	if t := reflect.TypeFor[P](); t.Kind() == reflect.Pointer {
		p = reflect.New(t.Elem()).Interface().(P)
		into = p
	}
	if err := codec.Decode(m, into); err != nil {
		return p, fmt.Errorf("requests: decode %T: %w", p, err)
	}
	return p, nil
}
