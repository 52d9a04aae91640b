package kafka

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Record headers that carry fields. See the table in the package comment of
// brokers.
const (
	idHeader          = "troupe-id"
	correlationHeader = "troupe-correlation-id"
	replyToHeader     = "troupe-reply-to"
	contentTypeHeader = "content-type"
	reservedPrefix    = "troupe-"
)

// Record is what Message.Broker holds: where a message came from. All messages
// of a batch of the cluster share one.
type Record struct {
	// LeaderEpoch is that of the leader that stored the batch.
	LeaderEpoch int32
	// ProducerID and ProducerEpoch are those of an idempotent or transactional
	// producer; -1 of any other.
	ProducerID    int64
	ProducerEpoch int16
	// Transactional: it was published in a transaction.
	Transactional bool
	// LogAppendTime: Message.Time is when it was stored, by the cluster's clock.
	LogAppendTime bool
}

var errRecord = errors.New("kafka: malformed record")

// reserved says whether a name is the driver's: a user's header of such a name
// goes into troupe-bin only.
func reserved(name string) bool {
	return name == contentTypeHeader || strings.HasPrefix(name, reservedPrefix)
}

// recordHeaders are what a record carries beside key and value.
type recordHeaders struct {
	all []brokers.Header
}

// collect lists the headers of m's record. They are valid until the next call.
func (r *recordHeaders) collect(m *brokers.Message) []brokers.Header {
	r.all = r.all[:0]
	exact := true
	for i := range m.Headers {
		h := &m.Headers[i]
		if reserved(h.Key) {
			exact = false
			continue
		}
		exact = exact && h.Kind == brokers.KindBytes
		r.all = append(r.all, *h)
	}
	natives := r.all
	r.add(idHeader, m.ID)
	r.add(correlationHeader, m.CorrelationID)
	r.add(replyToHeader, m.ReplyTo)
	r.add(contentTypeHeader, m.ContentType)
	if !exact {
		r.add(brokers.BinHeader, brokers.EncodeBin(natives, m))
	}
	return r.all
}

func (r *recordHeaders) add(name, value string) {
	if value != "" {
		r.all = append(r.all, brokers.Header{Key: name, Value: []byte(value)})
	}
}

// appendRecord appends a record of a batch of format 2.
func appendRecord(b []byte, m *brokers.Message, headers []brokers.Header, offsetDelta int, timeDelta int64) []byte {
	b = binary.AppendVarint(b, int64(recordSize(m, headers, offsetDelta, timeDelta)))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, int64(offsetDelta))
	b = appendNullable(b, m.Key)
	b = appendNullable(b, m.Payload)
	b = binary.AppendVarint(b, int64(len(headers)))
	for i := range headers {
		h := &headers[i]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendNullable(b, h.Value)
	}
	return b
}

// appendNullable appends bytes with their length, which for nil is -1.
func appendNullable(b, value []byte) []byte {
	if value == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(value))), value...)
}

// recordSize is the length of a record without its length.
func recordSize(m *brokers.Message, headers []brokers.Header, offsetDelta int, timeDelta int64) int {
	n := 1 + varintSize(timeDelta) + varintSize(int64(offsetDelta)) +
		nullableSize(m.Key) + nullableSize(m.Payload) + varintSize(int64(len(headers)))
	for i := range headers {
		n += varintSize(int64(len(headers[i].Key))) + len(headers[i].Key) + nullableSize(headers[i].Value)
	}
	return n
}

func nullableSize(value []byte) int {
	if value == nil {
		return 1
	}
	return varintSize(int64(len(value))) + len(value)
}

// varintSize is how many bytes binary.AppendVarint appends.
func varintSize(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// decodedRecord is where a record lies in its batch.
type decodedRecord struct {
	offsetDelta int64
	timeDelta   int64
}

// readRecord reads the record that data begins with into m: key, payload,
// headers and the fields that headers carry. They share memory with data. ID is
// left empty where the record has none.
func readRecord(data []byte, m *brokers.Message) (d decodedRecord, rest []byte, err error) {
	size, n := binary.Varint(data)
	if n <= 0 || size < 0 || size > int64(len(data)-n) {
		return d, nil, errRecord
	}
	r := recordReader{rest: data[n : n+int(size)]}
	r.take(1) // attributes
	d.timeDelta = r.varint()
	d.offsetDelta = r.varint()
	m.Key = r.nullable()
	m.Payload = r.nullable()
	r.headers(m)
	if r.bad || len(r.rest) > 0 {
		return d, nil, errRecord
	}
	return d, data[n+int(size):], nil
}

// recordReader reads what may be anything. Once it is bad, it returns zero
// values.
type recordReader struct {
	rest []byte
	bad  bool
}

func (r *recordReader) varint() int64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // as nearly all are
		b := r.rest[0]
		r.rest = r.rest[1:]
		return int64(b>>1) ^ -int64(b&1)
	}
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *recordReader) take(n int64) []byte {
	if r.bad || n < 0 || n > int64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// nullable reads bytes with their length.
func (r *recordReader) nullable() []byte {
	n := r.varint()
	if n == -1 {
		return nil
	}
	return r.take(n)
}

// headers reads the headers of a record, users' and others.
func (r *recordReader) headers(m *brokers.Message) {
	n := r.varint()
	if n < 0 || n > int64(len(r.rest)/2) {
		r.bad = r.bad || n != 0
		return
	}
	var bin []byte
	m.Headers = nil
	for left := n; left > 0 && !r.bad; left-- {
		name, value := r.take(r.varint()), r.nullable()
		switch {
		case setField(m, name, value):
		case string(name) == brokers.BinHeader:
			bin = value
		case reserved(string(name)):
		default:
			if m.Headers == nil {
				m.Headers = make(brokers.Headers, 0, left)
			}
			m.Headers = append(m.Headers, brokers.Header{Key: string(name), Value: value})
		}
	}
	if bin != nil && !r.bad {
		unpack(m, string(bin))
	}
}

// setField sets the field that a header carries; false if it carries none.
func setField(m *brokers.Message, name, value []byte) bool {
	switch string(name) {
	case idHeader:
		m.ID = string(value)
	case correlationHeader:
		m.CorrelationID = string(value)
	case replyToHeader:
		m.ReplyTo = string(value)
	case contentTypeHeader:
		m.ContentType = string(value)
	default:
		return false
	}
	return true
}

// unpack restores what headers do not carry. Text that does not fit the native
// headers, since those were changed on the way, is passed over: they win then.
func unpack(m *brokers.Message, text string) {
	restored := *m
	if ok, err := brokers.DecodeBin(text, m.Headers, &restored); ok && err == nil {
		*m = restored
	}
}

// timestamp is a message's time as Kafka has it: milliseconds since 1970.
func timestamp(m *brokers.Message, now time.Time) int64 {
	if m.Time.IsZero() {
		return now.UnixMilli()
	}
	return m.Time.UnixMilli()
}
