package supervision

import (
	"errors"
	"strings"

	"github.com/troupe-go/troupe/brokers"
)

var (
	// ErrNotDeadLetter says that a message has no dead-letter envelope.
	ErrNotDeadLetter = errors.New("supervision: not a dead letter")
	// ErrMalformed says that a message has a dead-letter envelope that cannot
	// be read, and which header is at fault. Mend that header by hand.
	ErrMalformed = errors.New("supervision: malformed dead letter")
)

// MaxEnvelope bounds the headers that Encode adds, in bytes of keys and values,
// however long the error is. The fields of the original message that move into
// headers are never shortened; should they alone be longer, they win.
const MaxEnvelope = 32 << 10

// Encode makes the dead letter of m, to be published to topic: m's payload,
// key, content type, correlation id and headers, byte for byte and in order,
// then the canonical headers, `troupe-dl-*`, then the [Aliases] of l.Broker.
//
// The other fields of m would act on the dead letter (a TTL would delete it, a
// reply address would be answered), so they are kept in headers, and [Decode]
// restores them. Its Time is l.LastFailure: a topic that keeps messages by age
// might otherwise drop an old one at once.
//
// The dead letter's ID is a hash of l.Group and of m's topic, partition and ID:
// if the process ends between publishing the dead letter and acknowledging m, a
// broker that deduplicates keeps one. It differs from group to group and from
// replay to replay. A message without an ID gets a dead letter without one,
// since nothing else about it is sure to be unique: RabbitMQ's delivery tags
// begin anew with each connection.
//
// If m is a dead letter itself, its envelope is replaced, not wrapped: the
// result tells where the message first lay and how it failed last.
//
// The result shares memory with m.
func Encode(m *brokers.Message, l Letter, topic string) brokers.Message {
	source := m
	if original, _, err := Decode(m); err == nil {
		source = &original
	}
	originals := source.Headers[:len(source.Headers):len(source.Headers)]
	return brokers.Message{
		ID:            letterID(m, l.Group),
		Topic:         topic,
		Key:           source.Key,
		Payload:       source.Payload,
		Headers:       append(originals, envelope(source, l)...),
		Time:          l.LastFailure,
		CorrelationID: source.CorrelationID,
		ContentType:   source.ContentType,
	}
}

// envelope is what Encode adds, its longest text shortened until it fits.
func envelope(source *brokers.Message, l Letter) brokers.Headers {
	for _, t := range l.texts() {
		*t.text = shorten(*t.text, t.limit)
	}
	for {
		var f fields
		f.int(headerCount, int64(len(source.Headers)))
		f.letter(&l)
		f.original(source)
		f.headers = append(f.headers, Aliases(l.Broker, source, l)...)
		added := brokers.Message{Headers: f.headers}
		excess := added.Size() - MaxEnvelope
		if excess <= 0 || !l.shortenLongest(excess) {
			return f.headers
		}
	}
}

// shortenLongest takes at most excess bytes, or else half, off the longest
// text. It returns false when there is nothing left to take.
func (l *Letter) shortenLongest(excess int) bool {
	longest := &l.Stack
	for _, t := range l.texts() {
		if len(*t.text) > len(*longest) {
			longest = t.text
		}
	}
	size := len(*longest)
	*longest = shorten(*longest, max(size-excess, size/2))
	return size > 0
}

// Decode undoes Encode: it returns the message as it was received (but for
// Epoch, DeliveryCount and Broker, which ended with the delivery), and the
// letter. It returns [ErrNotDeadLetter] if m has no envelope, and an error that
// wraps [ErrMalformed] if it cannot be read.
//
// A dead letter without an envelope is one all the same if the broker says that it
// died ([brokers.DeadLettered]), or Spring AMQP's recoverer has written it: then
// the letter has what is known, its Group is the queue that the message left, and
// the original lies nowhere, but has the topic and routing key that it was
// published with.
//
// Headers that somebody added behind the envelope are dropped. If somebody
// changed the order of the headers, what is not the envelope's is taken for the
// original's. The result shares memory with m.
func Decode(m *brokers.Message) (original brokers.Message, l Letter, err error) {
	start := lastIndex(m.Headers, headerCount)
	if start < 0 {
		return decodeForeign(m)
	}
	r := reader{headers: m.Headers[start:]}
	inOrder := r.int(headerCount, 64) == int64(start)
	if !inOrder {
		r.headers = m.Headers
	}
	original, l = r.original(m), r.letter()
	if err := r.require(headerTopic); err != nil {
		return brokers.Message{}, Letter{}, err
	}
	if inOrder {
		original.Headers = m.Headers[:start:start]
	} else {
		original.Headers = withoutAliases(withoutCanonical(m.Headers), &original, l)
	}
	return original, l, nil
}

func withoutCanonical(h brokers.Headers) brokers.Headers {
	var rest brokers.Headers
	for _, x := range h {
		if !strings.HasPrefix(x.Key, prefix) {
			rest = append(rest, x)
		}
	}
	return rest
}

func lastIndex(h brokers.Headers, key string) int {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].Key == key {
			return i
		}
	}
	return -1
}
