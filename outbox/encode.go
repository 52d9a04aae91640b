package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/troupe-go/troupe/brokers"
)

// The fields of a stored message, on the wire of Protocol Buffers: later versions
// may add some, and any tool for it shows what a row holds. Numbers are never used
// for anything else. What is zero is left out; an empty key or payload, which is not
// the same as none, is not.
const (
	fieldTopic protowire.Number = iota + 1
	fieldKey
	fieldID
	fieldPayload
	fieldHeader  // one for each, in order
	fieldSeconds // of the time, since 1970
	fieldNanos
	fieldCorrelationID
	fieldReplyTo
	fieldContentType
	fieldTTL
	fieldPriority
	fieldRoutingKey
	fieldPartition
)

// The fields of a header.
const (
	headerKey protowire.Number = iota + 1
	headerValue
	headerKind
)

var errStored = errors.New("outbox: malformed stored message")

// Encode is how stores keep a message. One that no publisher would take is refused,
// as by [brokers.Check], and one without an id ([ErrNoID]).
func Encode(m *brokers.Message) ([]byte, error) {
	if m.ID == "" {
		return nil, fmt.Errorf("%w: to %q", ErrNoID, m.Topic)
	}
	if err := brokers.Check(m, 0); err != nil {
		return nil, err
	}
	const fields = 64 // bytes that the tags and numbers of most messages take
	b := make([]byte, 0, m.Size()+len(m.Topic)+fields+16*len(m.Headers))
	b = appendText(b, fieldTopic, m.Topic)
	b = appendBytes(b, fieldKey, m.Key)
	b = appendText(b, fieldID, m.ID)
	b = appendBytes(b, fieldPayload, m.Payload)
	one := []byte{} // a header, which is there even if all of it is zero
	for i := range m.Headers {
		h := &m.Headers[i]
		one = appendText(one[:0], headerKey, h.Key)
		one = appendBytes(one, headerValue, h.Value)
		one = appendNumber(one, headerKind, int64(h.Kind))
		b = appendBytes(b, fieldHeader, one)
	}
	if !m.Time.IsZero() {
		b = appendAny(b, fieldSeconds, m.Time.Unix())
		b = appendNumber(b, fieldNanos, int64(m.Time.Nanosecond()))
	}
	b = appendText(b, fieldCorrelationID, m.CorrelationID)
	b = appendText(b, fieldReplyTo, m.ReplyTo)
	b = appendText(b, fieldContentType, m.ContentType)
	b = appendNumber(b, fieldTTL, int64(m.TTL))
	b = appendNumber(b, fieldPriority, int64(m.Priority))
	b = appendText(b, fieldRoutingKey, m.RoutingKey)
	return appendNumber(b, fieldPartition, int64(m.Partition)), nil
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if v == nil {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendNumber(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return appendAny(b, field, v)
}

// appendAny is for a number that is there even where it is 0.
func appendAny(b []byte, field protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), protowire.EncodeZigZag(v))
}

// Decode undoes Encode. The message shares memory with data.
func Decode(data []byte) (brokers.Message, error) {
	if len(data) > 0 && data[0] == '{' { // which no field begins with that there is
		return decodeJSON(data)
	}
	var m brokers.Message
	var seconds, nanos int64
	timed := false
	err := eachField(data, func(field protowire.Number, v []byte, n int64) error {
		switch field {
		case fieldTopic:
			m.Topic = string(v)
		case fieldKey:
			m.Key = v
		case fieldID:
			m.ID = string(v)
		case fieldPayload:
			m.Payload = v
		case fieldHeader:
			h, err := decodeHeader(v)
			m.Headers = append(m.Headers, h)
			return err
		case fieldSeconds:
			seconds, timed = n, true
		case fieldNanos:
			nanos = n
		case fieldCorrelationID:
			m.CorrelationID = string(v)
		case fieldReplyTo:
			m.ReplyTo = string(v)
		case fieldContentType:
			m.ContentType = string(v)
		case fieldTTL:
			m.TTL = time.Duration(n)
		case fieldPriority:
			m.Priority = uint8(n)
			return within(n, 0, math.MaxUint8)
		case fieldRoutingKey:
			m.RoutingKey = string(v)
		case fieldPartition:
			m.Partition = int32(n)
			return within(n, math.MinInt32, math.MaxInt32)
		}
		return nil
	})
	if timed {
		m.Time = time.Unix(seconds, nanos).UTC()
	}
	return m, err
}

func decodeHeader(data []byte) (h brokers.Header, err error) {
	err = eachField(data, func(field protowire.Number, v []byte, n int64) error {
		switch field {
		case headerKey:
			h.Key = string(v)
		case headerValue:
			h.Value = v
		case headerKind:
			h.Kind = brokers.Kind(n)
			return within(n, 0, int64(brokers.KindTime))
		}
		return nil
	})
	return h, err
}

func within(n, least, most int64) error {
	if n < least || n > most {
		return fmt.Errorf("%w: a number is %d, and not of %d to %d", errStored, n, least, most)
	}
	return nil
}

// eachField calls f with the fields of a message: v of one that is bytes, n of one
// that is a number. It passes over those of other types, which have no field here.
func eachField(data []byte, f func(field protowire.Number, v []byte, n int64) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", errStored, protowire.ParseError(n))
		}
		data = data[n:]
		var v []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", errStored, field, protowire.ParseError(n))
		}
		data = data[n:]
		if err := f(field, v[:len(v):len(v)], protowire.DecodeZigZag(number)); err != nil {
			return err
		}
	}
	return nil
}

// decodeJSON reads what stores kept before they knew the fields above.
func decodeJSON(data []byte) (brokers.Message, error) {
	var m struct {
		Topic         string
		Key           []byte
		ID            string
		Payload       []byte
		Headers       brokers.Headers
		Time          time.Time
		CorrelationID string
		ReplyTo       string
		ContentType   string
		TTL           time.Duration
		Priority      uint8
		RoutingKey    string
		Partition     int32
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return brokers.Message{}, fmt.Errorf("%w: %w", errStored, err)
	}
	return brokers.Message{
		Topic: m.Topic, Key: m.Key, ID: m.ID, Payload: m.Payload, Headers: m.Headers, Time: m.Time, CorrelationID: m.CorrelationID,
		ReplyTo: m.ReplyTo, ContentType: m.ContentType, TTL: m.TTL, Priority: m.Priority, RoutingKey: m.RoutingKey, Partition: m.Partition,
	}, nil
}
