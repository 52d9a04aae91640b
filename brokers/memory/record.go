package memory

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// A record is a message as bytes, which is how a log keeps it: free of
// pointers, and shared with nobody. It begins with what must be known of many
// records before any is decoded:
//
//	flags, size; number of headers, length of text, text, where the flags say so
//
// and goes on with the time and what else the flags announce. Text is all
// strings of the message, one after the other.

// What a record has.
const (
	hasKey = 1 << iota
	hasPayload
	hasHeaders
	hasText
	hasProperties // a string, TTL or priority
)

const timeLength = 12 // seconds and nanoseconds

// appendRecord appends m's record to b. Where m has no time, it is now.
func appendRecord(b []byte, m *brokers.Message, now time.Time) []byte {
	text := textLength(m)
	flags := flagsOf(m, text)
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(m.Size()))
	if flags&hasHeaders != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	}
	if flags&hasText != 0 {
		b = appendText(binary.AppendUvarint(b, uint64(text)), m)
	}
	if !m.Time.IsZero() {
		now = m.Time
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(now.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Nanosecond()))
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

// recordBound is at least the length of m's record.
func recordBound(m *brokers.Message) int {
	return 128 + m.Size() + textLength(m) + len(m.Headers)*(1+2*binary.MaxVarintLen64)
}

func textLength(m *brokers.Message) int {
	n := len(m.ID) + len(m.CorrelationID) + len(m.ReplyTo) + len(m.ContentType) + len(m.RoutingKey)
	for i := range m.Headers {
		n += len(m.Headers[i].Key)
	}
	return n
}

func flagsOf(m *brokers.Message, text int) (flags byte) {
	if m.Key != nil {
		flags |= hasKey
	}
	if m.Payload != nil {
		flags |= hasPayload
	}
	if m.Headers != nil {
		flags |= hasHeaders
	}
	if text > 0 {
		flags |= hasText | hasProperties
	}
	if m.TTL != 0 || m.Priority != 0 {
		flags |= hasProperties
	}
	return flags
}

func appendText(b []byte, m *brokers.Message) []byte {
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
	b = binary.LittleEndian.AppendUint64(b, uint64(m.TTL))
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
	size, _ := binary.Uvarint(raw[1:])
	return int(size)
}

// decoder reads records from a buffer that belongs to their reader, so that a
// batch costs a few allocations and nothing is copied twice.
type decoder struct {
	buf     []byte
	at      int
	text    string // of all records
	textAt  int
	headers []brokers.Header // for all records
	given   int              // headers in use
}

// newDecoder copies records for a reader.
func newDecoder(runs []run) decoder {
	size, rich := 0, false
	for i := range runs {
		size += len(runs[i].data)
		rich = rich || runs[i].rich
	}
	d := decoder{buf: make([]byte, 0, size)}
	for i := range runs {
		d.buf = append(d.buf, runs[i].data...)
	}
	if rich {
		d.gather(runs)
	}
	return d
}

// gather joins the text of records, and makes room for their headers.
func (d *decoder) gather(runs []run) {
	headers, size := 0, 0
	eachPreamble(runs, func(n int, text []byte) {
		headers += n
		size += len(text)
	})
	var all strings.Builder
	all.Grow(size)
	eachPreamble(runs, func(_ int, text []byte) { all.Write(text) })
	d.text = all.String()
	d.headers = make([]brokers.Header, headers)
}

// eachPreamble visits the number of headers and the text of each record.
func eachPreamble(runs []run, visit func(headers int, text []byte)) {
	for i := range runs {
		from := runs[i].base
		for _, end := range runs[i].ends {
			d := decoder{buf: runs[i].data, at: int(from - runs[i].base)}
			visit(d.preamble(d.flags()))
			from = end
		}
	}
}

// flags reads what begins a record.
func (d *decoder) flags() byte {
	flags := d.byte()
	d.number()
	return flags
}

// preamble reads the number of headers and the text.
func (d *decoder) preamble(flags byte) (headers int, text []byte) {
	if flags&hasHeaders != 0 {
		headers = d.number()
	}
	if flags&hasText != 0 {
		text = d.bytes()
	}
	return headers, text
}

// next decodes the next record into m, a zero value.
func (d *decoder) next(m *brokers.Message) {
	flags := d.flags()
	headers, _ := d.preamble(flags)
	m.Time = d.time()
	if flags&hasKey != 0 {
		m.Key = d.bytes()
	}
	if flags&hasPayload != 0 {
		m.Payload = d.bytes()
	}
	if flags&hasProperties != 0 {
		d.properties(m)
	}
	if flags&hasHeaders == 0 {
		return
	}
	m.Headers = brokers.Headers(d.headers[d.given : d.given+headers : d.given+headers])
	d.given += headers
	for i := range m.Headers {
		d.header(&m.Headers[i])
	}
}

func (d *decoder) time() time.Time {
	b := d.take(timeLength)
	return time.Unix(int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint32(b[8:])))
}

func (d *decoder) properties(m *brokers.Message) {
	for _, s := range [...]*string{&m.ID, &m.CorrelationID, &m.ReplyTo, &m.ContentType, &m.RoutingKey} {
		*s = d.string()
	}
	m.TTL = time.Duration(binary.LittleEndian.Uint64(d.take(8)))
	m.Priority = d.byte()
}

func (d *decoder) header(h *brokers.Header) {
	h.Kind = brokers.Kind(d.byte())
	h.Key = d.string()
	if n := d.number(); n > 0 {
		h.Value = d.take(n - 1)
	}
}

// string reads the length of the next string of the text, and returns that.
func (d *decoder) string() string {
	from := d.textAt
	d.textAt += d.number()
	return d.text[from:d.textAt]
}

func (d *decoder) number() int {
	if b := d.buf[d.at]; b < 0x80 {
		d.at++
		return int(b)
	}
	v, n := binary.Uvarint(d.buf[d.at:])
	d.at += n
	return int(v)
}

func (d *decoder) byte() byte {
	d.at++
	return d.buf[d.at-1]
}

func (d *decoder) bytes() []byte { return d.take(d.number()) }

// take caps what it returns, so that appending to it cannot reach its neighbour.
func (d *decoder) take(n int) []byte {
	from := d.at
	d.at += n
	return d.buf[from:d.at:d.at]
}
