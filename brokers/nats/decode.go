package nats

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// Delivery is what Message.Broker holds: where a message came from. All messages
// of an epoch share one.
type Delivery struct {
	// Stream and Consumer are names on the server.
	Stream, Consumer string
	// Pin identifies the ownership to the server.
	Pin string
}

// delivery is what the server says of one delivery, in the reply subject:
// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<count>.<stream seq>.
// <consumer seq>.<time>.<pending>[.<token>].
type delivery struct {
	count    int
	seq      uint64
	consumer uint64 // consumer sequence: one more with each delivery
	time     int64  // nanoseconds since 1970
	pending  uint64 // messages of the partition behind this one
}

// parseDelivery reads a reply subject.
func parseDelivery(reply string) (d delivery, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return d, false
	}
	skip := 2 // stream and consumer
	if n := strings.Count(rest, "."); n >= 8 {
		skip = 4 // domain and account before them
	} else if n != 6 {
		return d, false
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [5]uint64
	for i := range numbers {
		if numbers[i], rest, ok = number(rest); !ok {
			return d, false
		}
	}
	return delivery{
		count: int(numbers[0]), seq: numbers[1], consumer: numbers[2],
		time: int64(numbers[3]), pending: numbers[4],
	}, true
}

// number reads a token that is a number, and what comes after its dot. It looks at
// each byte once, as this is done five times for each delivery.
func number(text string) (n uint64, rest string, ok bool) {
	for i := range len(text) {
		digit := uint64(text[i] - '0')
		switch {
		case text[i] == '.':
			return n, text[i+1:], i > 0
		case digit > 9, n > (math.MaxUint64-digit)/10:
			return 0, "", false
		}
		n = 10*n + digit
	}
	return n, "", text != ""
}

// decode turns a delivered message into one of package brokers. Where it lies
// the caller fills in. It keeps m's payload and nothing else of it.
func decode(m *nats.Msg, d delivery, stream string) brokers.Message {
	out := brokers.Message{
		Payload:       m.Data,
		Offset:        int64(d.seq),
		DeliveryCount: d.count,
		Time:          time.Unix(0, d.time),
	}
	if out.Payload == nil {
		out.Payload = []byte{}
	}
	decodeHeader(m, &out)
	if out.ID == "" {
		out.ID = stream + "/" + strconv.FormatUint(d.seq, 10)
	}
	return out
}

// decodeHeader fills in what m's headers carry.
func decodeHeader(m *nats.Msg, out *brokers.Message) {
	// One piece of memory holds the key and all values.
	users, size := measure(m.Header, out)
	room := make([]byte, 0, size)
	if key, ok := m.Header[keyHeader]; ok {
		out.Key, room = carve(room, key[0])
	}
	if users > 0 {
		out.Headers = headers(m.Header, users, room)
	}
	if text := m.Header.Get(brokers.BinHeader); text != "" {
		unpack(out, text)
	} else if text := m.Header.Get(orderHeader); text != "" {
		reorder(out.Headers, text)
	}
}

// measure sets the fields of m that headers carry. It counts the users' headers,
// and the bytes of their values and of the key.
func measure(all nats.Header, m *brokers.Message) (users, size int) {
	for name, values := range all {
		switch {
		case setField(m, name, values):
		case name == keyHeader:
			size += len(values[0])
		case reserved(name):
		default:
			users += len(values)
			for _, v := range values {
				size += len(v)
			}
		}
	}
	return users, size
}

// setField sets the field that a header carries; false if it carries none.
func setField(m *brokers.Message, name string, values []string) bool {
	value := values[0]
	switch name {
	case idHeader:
		if !strings.HasPrefix(value, generatedID) {
			m.ID = value
		}
	case timeHeader:
		if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
			m.Time = t
		}
	case correlationHeader:
		m.CorrelationID = value
	case replyToHeader:
		m.ReplyTo = value
	case contentTypeHeader:
		m.ContentType = value
	case routingKeyHeader:
		m.RoutingKey = value
	case priorityHeader:
		n, _ := strconv.ParseUint(value, 10, 8) // another client's may be nonsense: 0
		m.Priority = uint8(n)
	case ttlHeader:
		m.TTL = parseTTL(value)
	default:
		return false
	}
	return true
}

// parseTTL reads what the server takes: a duration, or whole seconds.
func parseTTL(text string) time.Duration {
	if ttl, err := time.ParseDuration(text); err == nil {
		return max(ttl, 0)
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0 // "never", among others
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

// headers lists n user headers by name, with their values in room.
func headers(all nats.Header, n int, room []byte) brokers.Headers {
	out := make(brokers.Headers, 0, n)
	for name, values := range all {
		if reserved(name) {
			continue
		}
		for _, v := range values {
			h := brokers.Header{Key: name}
			h.Value, room = carve(room, v)
			out = append(out, h)
		}
	}
	sortByName(out)
	return out
}

// carve copies text to the end of room and returns the copy, which cannot grow
// into what follows.
func carve(room []byte, text string) (piece, rest []byte) {
	first := len(room)
	room = append(room, text...)
	return room[first:len(room):len(room)], room
}

// unpack restores what NATS could not carry. Text that does not fit the native
// headers, since those were changed on the way, is passed over: they win then.
func unpack(m *brokers.Message, text string) {
	restored := *m
	if ok, err := brokers.DecodeBin(text, m.Headers, &restored); ok && err == nil {
		*m = restored
	}
}
