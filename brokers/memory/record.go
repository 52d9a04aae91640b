package memory

import (
	"encoding/binary"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// A record is a message as bytes, which is how a log keeps it: free of
// pointers, and shared with nobody. It begins with what must be known of many
// records before any is decoded:
//
//	size, number of headers, length of text, text
//
// and goes on with flags, the time, and what the flags announce. Text is all
// strings of the message, one after the other.

// What a record has.
const (
	hasKey = 1 << iota
	hasPayload
	hasProperties // strings, TTL or priority
	hasHeaders
)

// recordBound is at least the length of m's record.
func recordBound(m *brokers.Message) int {
	n := 128 + m.Size() + len(m.CorrelationID) + len(m.ReplyTo) + len(m.ContentType) + len(m.RoutingKey)
	return n + len(m.Headers)*(1+2*binary.MaxVarintLen64)
}

// appendRecord appends m's record to b. Where m has no time, it is now.
func appendRecord(b []byte, m *brokers.Message, now time.Time) []byte {
	b = binary.AppendUvarint(b, uint64(m.Size()))
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	b = appendText(b, m)
	flags := flagsOf(m)
	b = append(b, flags)
	if !m.Time.IsZero() {
		now = m.Time
	}
	b = binary.AppendVarint(b, now.Unix())
	b = binary.AppendUvarint(b, uint64(now.Nanosecond()))
	if flags&hasKey != 0 {
		b = appendBytes(b, m.Key)
	}
	if flags&hasPayload != 0 {
		b = appendBytes(b, m.Payload)
	}
	if flags&hasProperties != 0 {
		b = appendProperties(b, m)
	}
	for i := range m.Headers {
		b = appendHeader(b, &m.Headers[i])
	}
	return b
}

func flagsOf(m *brokers.Message) (flags byte) {
	if m.Key != nil {
		flags |= hasKey
	}
	if m.Payload != nil {
		flags |= hasPayload
	}
	if m.ID != "" || m.CorrelationID != "" || m.ReplyTo != "" || m.ContentType != "" || m.RoutingKey != "" ||
		m.TTL != 0 || m.Priority != 0 {
		flags |= hasProperties
	}
	if m.Headers != nil {
		flags |= hasHeaders
	}
	return flags
}

func appendText(b []byte, m *brokers.Message) []byte {
	n := len(m.ID) + len(m.CorrelationID) + len(m.ReplyTo) + len(m.ContentType) + len(m.RoutingKey)
	for i := range m.Headers {
		n += len(m.Headers[i].Key)
	}
	b = binary.AppendUvarint(b, uint64(n))
	if n == 0 {
		return b
	}
	b = append(b, m.ID...)
	b = append(b, m.CorrelationID...)
	b = append(b, m.ReplyTo...)
	b = append(b, m.ContentType...)
	b = append(b, m.RoutingKey...)
	for i := range m.Headers {
		b = append(b, m.Headers[i].Key...)
	}
	return b
}

func appendProperties(b []byte, m *brokers.Message) []byte {
	for _, s := range [...]string{m.ID, m.CorrelationID, m.ReplyTo, m.ContentType, m.RoutingKey} {
		b = binary.AppendUvarint(b, uint64(len(s)))
	}
	b = binary.AppendVarint(b, int64(m.TTL))
	return append(b, m.Priority)
}

// appendHeader tells a nil value from an empty one by the length plus one.
func appendHeader(b []byte, h *brokers.Header) []byte {
	b = append(b, byte(h.Kind))
	b = binary.AppendUvarint(b, uint64(len(h.Key)))
	if h.Value == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(h.Value))+1)
	return append(b, h.Value...)
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// recordSize is the Message.Size of a record's message.
func recordSize(raw []byte) int {
	size, _ := binary.Uvarint(raw)
	return int(size)
}

// decoder reads records from a buffer that belongs to their reader, so that a
// batch costs a few allocations and no copies.
type decoder struct {
	buf     []byte
	text    string // of the records that are left
	headers []brokers.Header
}

// newDecoder copies records for a reader.
func newDecoder(batch []entry) decoder {
	var size, headers, text int
	for i := range batch {
		size += len(batch[i].raw)
	}
	d := decoder{buf: make([]byte, 0, size)}
	for i := range batch {
		d.buf = append(d.buf, batch[i].raw...)
		peek := decoder{buf: batch[i].raw}
		peek.number()
		headers += peek.number()
		text += peek.number()
	}
	if headers > 0 {
		d.headers = make([]brokers.Header, headers)
	}
	if text > 0 {
		d.text = textOf(batch, text)
	}
	return d
}

// textOf joins the text of records.
func textOf(batch []entry, size int) string {
	text := make([]byte, 0, size)
	for i := range batch {
		d := decoder{buf: batch[i].raw}
		d.number()
		d.number()
		text = append(text, d.bytes()...)
	}
	return string(text)
}

// next decodes the next record into m, a zero value.
func (d *decoder) next(m *brokers.Message) {
	d.number()
	headers := d.number()
	d.bytes()
	flags := d.byte()
	m.Time = time.Unix(d.signed(), int64(d.number()))
	if flags&hasKey != 0 {
		m.Key = d.bytes()
	}
	if flags&hasPayload != 0 {
		m.Payload = d.bytes()
	}
	if flags&hasProperties != 0 {
		d.properties(m)
	}
	if flags&hasHeaders != 0 {
		m.Headers = d.headers[:headers:headers]
		d.headers = d.headers[headers:]
		for i := range m.Headers {
			d.header(&m.Headers[i])
		}
	}
}

func (d *decoder) properties(m *brokers.Message) {
	for _, s := range [...]*string{&m.ID, &m.CorrelationID, &m.ReplyTo, &m.ContentType, &m.RoutingKey} {
		*s = d.string()
	}
	m.TTL = time.Duration(d.signed())
	m.Priority = d.byte()
}

func (d *decoder) header(h *brokers.Header) {
	h.Kind = brokers.Kind(d.byte())
	h.Key = d.string()
	if n := d.number(); n > 0 {
		h.Value = d.take(n - 1)
	}
}

// string is the next string of the text; its length is at hand.
func (d *decoder) string() string {
	n := d.number()
	s := d.text[:n]
	d.text = d.text[n:]
	return s
}

func (d *decoder) number() int {
	v, n := binary.Uvarint(d.buf)
	d.buf = d.buf[n:]
	return int(v)
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.buf)
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) byte() byte {
	b := d.buf[0]
	d.buf = d.buf[1:]
	return b
}

func (d *decoder) bytes() []byte { return d.take(d.number()) }

// take caps what it returns, so that appending to it cannot reach its neighbour.
func (d *decoder) take(n int) []byte {
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}
