package actors

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/brokers"
)

// staged is what a handler wants done if it succeeds.
type staged struct {
	messages  []brokers.Message
	letters   []outLetter
	timers    []timerOp
	passivate bool
	unstash   bool
}

type outLetter struct {
	to      *actor.PID
	value   any
	respond bool
}

func (s *staged) clear() {
	if s.empty() && !s.unstash {
		return // as mostly
	}
	clear(s.messages)
	clear(s.letters)
	clear(s.timers)
	s.messages, s.letters, s.timers = s.messages[:0], s.letters[:0], s.timers[:0]
	s.passivate, s.unstash = false, false
}

// takeMessages hands the messages over to whoever publishes them.
func (s *staged) takeMessages() []brokers.Message {
	m := s.messages
	s.messages = nil
	return m
}

func (s *staged) empty() bool {
	return len(s.messages)+len(s.letters)+len(s.timers) == 0 && !s.passivate
}

// PublishOption varies one Publish.
type PublishOption func(*brokers.Message)

// WithKey publishes under another key than the handler's.
func WithKey(key []byte) PublishOption {
	return func(m *brokers.Message) { m.Key = key }
}

// WithHeader adds a header.
func WithHeader(key string, value []byte) PublishOption {
	return func(m *brokers.Message) {
		m.Headers = append(m.Headers, brokers.Header{Key: key, Value: value})
	}
}

// WithID sets the message's id, where the derived one does not suit.
func WithID(id string) PublishOption {
	return func(m *brokers.Message) { m.ID = id }
}

// Publish stages a message to topic, keyed by the handler's key unless an option
// says otherwise. v is encoded now by the subscription's codec; []byte goes as
// it is, and so does a brokers.Message, but for its topic. An error means that
// v cannot be encoded or is over a limit; nothing is staged then, and a handler
// should return it.
//
// The id, unless set, is derived from the handled message's own and the place
// of the effect, so that a repeated handling publishes under equal ids. The
// handled message is settled when the broker has confirmed all that it staged; in a
// subscription that is Transactional both are confirmed together.
func (c *Context) Publish(topic string, v any, opts ...PublishOption) error {
	m, err := c.encode(topic, v, opts)
	if err != nil {
		return err
	}
	c.staged.messages = append(c.staged.messages, m)
	return nil
}

// PublishNow publishes at once and waits for the broker's confirmation, also if
// Receive fails later: a retry publishes it again. ctx is c or derived from it.
func (c *Context) PublishNow(ctx context.Context, topic string, v any, opts ...PublishOption) error {
	m, err := c.encode(topic, v, opts)
	if err != nil {
		return err
	}
	_, err = c.region.sub.publisher.Publish(ctx, m)
	return err
}

func (c *Context) encode(topic string, v any, opts []PublishOption) (brokers.Message, error) {
	var m brokers.Message
	switch v := v.(type) {
	case brokers.Message:
		m = v
	case []byte:
		m.Payload = v
	default:
		m.Headers = brokers.Headers{{Key: "type", Value: []byte(typeName(v))}}
		if err := c.region.sub.cfg.Codec.Encode(v, &m); err != nil {
			return m, fmt.Errorf("actors: encode %T for topic %q: %w", v, topic, err)
		}
	}
	m.Topic = topic
	if m.Key == nil {
		m.Key = c.keyBytes()
	}
	source := c.item.message
	if m.CorrelationID == "" {
		m.CorrelationID = c.CorrelationID()
	}
	m.Headers = c.passOn(m.Headers)
	for _, o := range opts {
		o(&m)
	}
	if m.ID == "" && source != nil && source.ID != "" {
		m.ID = c.effectID(source.ID)
	}
	return m, brokers.Check(&m, c.region.sub.cfg.Publisher.MaxMessageBytes)
}

// passOn adds to headers what middleware has the handling carry, and else the
// trace of the message being handled.
func (c *Context) passOn(headers brokers.Headers) brokers.Headers {
	added := c.carried
	if source := c.item.message; source != nil {
		for _, h := range source.Headers.Trace() {
			if !carries(added, h.Key) {
				added = append(added[:len(added):len(added)], h)
			}
		}
	}
	for _, h := range added {
		if !carries(headers, h.Key) {
			headers = append(headers[:len(headers):len(headers)], h)
		}
	}
	return headers
}

func carries(headers brokers.Headers, name string) bool {
	_, ok := headers.Get(name)
	return ok
}

// keyBytes is the key for what the handler publishes: a copy, or nil for lanes.
func (c *Context) keyBytes() []byte {
	if c.item.message != nil {
		if key, ok := c.region.sub.cfg.Key(c.item.message); ok {
			return append([]byte{}, key...)
		}
		return nil
	}
	if c.cell.kind == cellLane {
		return nil
	}
	return []byte(c.cell.key)
}

func (c *Context) effectID(source string) string {
	b := make([]byte, 0, len(source)+len(c.Group())+8)
	b = append(append(append(b, source...), '>'), c.Group()...)
	if n := c.item.stashes; n > 0 { // what it stages now is another effect
		b = strconv.AppendInt(append(b, '~'), int64(n), 10)
	}
	return string(strconv.AppendInt(append(b, '#'), int64(len(c.staged.messages)), 10))
}

// typeName is the name under which a value's type travels.
func typeName(v any) string {
	if named, ok := v.(interface{ EventType() string }); ok {
		return named.EventType()
	}
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return ""
	}
	return t.Name()
}

// Respond stages the answer to the letter's sender. Without a sender it does
// nothing.
func (c *Context) Respond(v any) {
	if to := c.Sender(); to != nil {
		c.staged.letters = append(c.staged.letters, outLetter{to: to, value: v, respond: true})
	}
}

// Send stages a letter to another actor, with this key as its sender. It is not
// durable.
func (c *Context) Send(to *actor.PID, v any) {
	c.staged.letters = append(c.staged.letters, outLetter{to: to, value: v})
}
