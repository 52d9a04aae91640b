package brokers

import "bytes"

// Kind is the type a header value had where it came from. The value is bytes
// all the same; the kind lets typed values (AMQP tables) survive a round trip. A
// value that does not read as its kind is no error: it goes as bytes, and the
// kind in troupe-bin. Foreign values of no kind here (tables, arrays) arrive as
// KindBytes of their JSON.
type Kind uint8

// The kinds, and how Value holds each.
const (
	KindBytes  Kind = iota // as they are
	KindString             // UTF-8 text
	KindInt                // decimal text
	KindFloat              // text as strconv.FormatFloat(v, 'g', -1, 64)
	KindBool               // "true" or "false"
	KindTime               // RFC 3339 with nanoseconds
)

// Header is one header field. A nil and an empty Value are different.
type Header struct {
	Key   string
	Value []byte
	Kind  Kind
}

// Headers is an ordered list; a key may occur more than once, may be empty, and
// case counts. A nil and an empty list are the same. Keys that begin with
// "troupe-" are the drivers'.
type Headers []Header

// Get returns the value of the last header with that key: the last writer wins,
// as Kafka's own clients read them.
func (h Headers) Get(key string) (value []byte, ok bool) {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].Key == key {
			return h[i].Value, true
		}
	}
	return nil, false
}

// Text is Get as a string; "" where there is none.
func (h Headers) Text(key string) string {
	v, _ := h.Get(key)
	return string(v)
}

// With returns a list in which key occurs once, at the end, with value. It
// never changes h.
func (h Headers) With(key string, value []byte) Headers {
	out := make(Headers, 0, len(h)+1)
	for _, x := range h {
		if x.Key != key {
			out = append(out, x)
		}
	}
	return append(out, Header{Key: key, Value: value})
}

// Trace returns a copy of those of W3C Trace Context and Baggage, which say what a
// message is a consequence of: traceparent, tracestate and baggage. It is nil if
// there are none.
func (h Headers) Trace() (trace Headers) {
	for _, name := range [...]string{"traceparent", "tracestate", "baggage"} {
		if v, ok := h.Get(name); ok {
			trace = append(trace, Header{Key: name, Value: bytes.Clone(v)})
		}
	}
	return trace
}

// Clone returns a deep copy; nil stays nil.
func (h Headers) Clone() Headers {
	if h == nil {
		return nil
	}
	out := make(Headers, len(h))
	for i, x := range h {
		out[i] = Header{Key: x.Key, Value: bytes.Clone(x.Value), Kind: x.Kind}
	}
	return out
}

// size is how many bytes keys and values have.
func (h Headers) size() int {
	n := 0
	for i := range h {
		n += len(h[i].Key) + len(h[i].Value)
	}
	return n
}
