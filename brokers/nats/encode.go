package nats

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// maxHeaderBytes is what the server stores of headers.
const maxHeaderBytes = 64<<10 - 1

// encoder turns messages into those of the client, one at a time: the client
// copies what it is given, so the same memory serves again.
type encoder struct {
	msg     nats.Msg
	values  []string // backs the header's lists
	natives brokers.Headers
	text    []byte // the key's, and the natives' values
	size    int
}

func newEncoder() *encoder { return &encoder{msg: nats.Msg{Header: nats.Header{}}} }

// encode fills e.msg from m. Of its headers all that NATS would change travels
// in troupe-bin as well.
func (e *encoder) encode(m *brokers.Message) (*nats.Msg, error) {
	if err := checkFields(m); err != nil {
		return nil, err
	}
	e.reset(m)
	e.fields(m)
	exact := e.bytes(m) && m.Payload != nil
	if exact {
		var text string
		if text, exact = order(m.Headers); text != "" {
			e.add(orderHeader, text)
		}
	}
	if !exact {
		e.add(brokers.BinHeader, brokers.EncodeBin(e.natives, m))
	}
	if e.size > maxHeaderBytes {
		return nil, fmt.Errorf("%w: headers take %d bytes, and NATS keeps %d", brokers.ErrTooLarge, e.size, maxHeaderBytes)
	}
	return &e.msg, nil
}

func (e *encoder) reset(m *brokers.Message) {
	clear(e.msg.Header)
	clear(e.natives)
	clear(e.values)
	// Lists in the header point into values, so it must not grow while they do.
	if most := len(m.Headers) + 11; cap(e.values) < most {
		e.values = make([]string, 0, most)
	}
	e.values = e.values[:0]
	e.msg.Data = m.Payload
	e.size = len("NATS/1.0\r\n\r\n")
}

// bytes sets the headers of m's key and of its own headers, where NATS keeps them
// as they are; false if there are others. One piece of memory holds all.
func (e *encoder) bytes(m *brokers.Message) (exact bool) {
	e.natives, exact = native(m.Headers, e.natives[:0])
	key := m.Key
	if !plainText(key) {
		key, exact = nil, false
	}
	e.text = append(e.text[:0], key...)
	for i := range e.natives {
		e.text = append(e.text, e.natives[i].Value...)
	}
	text := string(e.text)
	if key != nil {
		e.add(keyHeader, text[:len(key)])
	}
	text = text[len(key):]
	for i := range e.natives {
		n := len(e.natives[i].Value)
		e.add(e.natives[i].Key, text[:n])
		text = text[n:]
	}
	return exact
}

// fields sets the headers of m's fields, but for its key.
func (e *encoder) fields(m *brokers.Message) {
	if m.ID != "" {
		e.add(idHeader, m.ID)
	}
	if !m.Time.IsZero() {
		e.add(timeHeader, m.Time.Format(time.RFC3339Nano))
	}
	for _, f := range [...]struct{ name, value string }{
		{correlationHeader, m.CorrelationID},
		{replyToHeader, m.ReplyTo},
		{contentTypeHeader, m.ContentType},
		{routingKeyHeader, m.RoutingKey},
	} {
		if f.value != "" {
			e.add(f.name, f.value)
		}
	}
	if m.TTL > 0 {
		e.add(ttlHeader, ttlText(m.TTL))
	}
	if m.Priority > 0 {
		e.add(priorityHeader, strconv.Itoa(int(m.Priority)))
	}
}

// checkFields refuses texts that NATS would change.
func checkFields(m *brokers.Message) error {
	for _, f := range [...]struct{ name, value string }{
		{"ID", m.ID},
		{"CorrelationID", m.CorrelationID},
		{"ReplyTo", m.ReplyTo},
		{"ContentType", m.ContentType},
		{"RoutingKey", m.RoutingKey},
	} {
		if !plainText(f.value) {
			return fmt.Errorf("%w: Message.%s cannot be a NATS header: %q", brokers.ErrInvalid, f.name, f.value)
		}
	}
	return nil
}

// add appends a value to a header.
func (e *encoder) add(name, value string) {
	e.size += len(name) + len(value) + len(": \r\n")
	e.values = append(e.values, value)
	n := len(e.values)
	if list, ok := e.msg.Header[name]; ok {
		e.msg.Header[name] = append(list[:len(list):len(list)], value)
		return
	}
	e.msg.Header[name] = e.values[n-1 : n : n]
}

// ttlText is a time to live as the server takes it: whole seconds, rounded up.
func ttlText(ttl time.Duration) string {
	seconds := ttl / time.Second
	if ttl%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(int64(seconds), 10) + "s"
}
