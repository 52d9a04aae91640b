package rabbitmq

import (
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// maxHeaderFrame is what a frame of 128 KiB takes of headers; the rest is for the
// other properties, each of at most 255 bytes.
const maxHeaderFrame = 128<<10 - 4<<10

// encode is m on the wire. The error wraps [brokers.ErrInvalid] or
// [brokers.ErrTooLarge].
func encode(m *brokers.Message) (amqp.Publishing, error) {
	out := amqp.Publishing{
		MessageId: m.ID, CorrelationId: m.CorrelationID, ReplyTo: m.ReplyTo, ContentType: m.ContentType,
		DeliveryMode: amqp.Persistent, Priority: m.Priority, Body: m.Payload,
	}
	if err := checkTexts(m); err != nil {
		return out, err
	}
	if m.TTL > 0 {
		ms := milliseconds(m.TTL)
		if ms > math.MaxUint32 {
			return out, fmt.Errorf("%w: Message.TTL is %v, more than the 49 days of RabbitMQ", brokers.ErrInvalid, m.TTL)
		}
		out.Expiration = strconv.FormatInt(ms, 10)
	}
	out.Headers = amqp.Table{}
	listed, exact := native(m.Headers, out.Headers)
	if !exact {
		out.Headers[brokers.BinHeader] = brokers.EncodeBin(listed, m)
	}
	if m.Key != nil {
		out.Headers[keyHeader] = m.Key
	}
	if m.Payload == nil {
		out.Headers[nilHeader] = true
	}
	setTime(&out, m.Time)
	setProperties(&out, m.Headers)
	if size := tableSize(out.Headers); size > maxHeaderFrame {
		return out, fmt.Errorf("%w: Message.Key and Headers take %d bytes in AMQP, more than %d", brokers.ErrTooLarge, size, maxHeaderFrame)
	}
	return out, nil
}

// setTime sets the timestamp, which has whole seconds, and what it lacks.
func setTime(out *amqp.Publishing, at time.Time) {
	if at.IsZero() {
		at = time.Now()
	} else if at.Nanosecond() != 0 || at.Unix() < 0 {
		out.Headers[timeHeader] = at.UTC().Format(time.RFC3339Nano)
	}
	if at.Unix() >= 0 {
		out.Timestamp = at
	}
}

// Headers that are properties of AMQP as well, so that other programs find them
// where they look, and are found.
const (
	encodingHeader = "content-encoding"
	typeHeader     = "type"
)

func setProperties(out *amqp.Publishing, hs brokers.Headers) {
	for i := range hs {
		h := &hs[i]
		if len(h.Value) > maxName || !utf8.Valid(h.Value) {
			continue
		}
		switch h.Key {
		case encodingHeader:
			out.ContentEncoding = string(h.Value)
		case typeHeader:
			out.Type = string(h.Value)
		}
	}
}

// checkTexts refuses what does not fit into AMQP's short strings.
func checkTexts(m *brokers.Message) error {
	for _, f := range [...]struct{ name, value string }{
		{"Message.ID", m.ID},
		{"Message.CorrelationID", m.CorrelationID},
		{"Message.ReplyTo", m.ReplyTo},
		{"Message.ContentType", m.ContentType},
		{"Message.RoutingKey", m.RoutingKey},
	} {
		if len(f.value) > maxName {
			return tooLong(f.name, f.value)
		}
	}
	return nil
}

// tableSize is how many bytes a table takes, or a few more.
func tableSize(table amqp.Table) int {
	const overhead, number = 2 + 4, 8 // lengths and type; what has no length
	size := 0
	for name, v := range table {
		size += overhead + len(name)
		switch v := v.(type) {
		case []byte:
			size += len(v)
		case string:
			size += len(v)
		default:
			size += number
		}
	}
	return size
}
