package supervision

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/troupe-go/troupe/brokers"
)

// prefix is reserved for the canonical headers of a dead letter.
const prefix = "troupe-dl-"

// headerCount begins the canonical headers and says how many headers before it
// are the original's.
const headerCount = prefix + "headers"

// The canonical headers of a Letter.
const (
	headerReason       = prefix + "reason"
	headerErrorType    = prefix + "error-type"
	headerErrorMessage = prefix + "error-message"
	headerAttempts     = prefix + "attempts"
	headerDeliveries   = prefix + "deliveries"
	headerFirstFailure = prefix + "first-failure"
	headerLastFailure  = prefix + "last-failure"
	headerGroup        = prefix + "group"
	headerActor        = prefix + "actor"
	headerHandler      = prefix + "handler"
	headerHost         = prefix + "host"
	headerBroker       = prefix + "broker"
	headerStack        = prefix + "stack"
)

// The canonical headers of the original message: the fields that a dead letter
// cannot keep where they were.
const (
	headerTopic      = prefix + "topic"
	headerPartition  = prefix + "partition"
	headerOffset     = prefix + "offset"
	headerID         = prefix + "id"
	headerReplays    = prefix + "replays"
	headerTime       = prefix + "time"
	headerReplyTo    = prefix + "reply-to"
	headerRoutingKey = prefix + "routing-key"
	headerTTL        = prefix + "ttl"
	headerPriority   = prefix + "priority"
	// headerKey is for people and tools, shortened; the dead letter's own key
	// is what counts.
	headerKey = prefix + "key"
)

// Bounds of texts, escaped, in bytes.
const (
	maxErrorMessage = 8 << 10
	maxReason       = 1 << 10
	maxName         = 256
)

// boundedText is a text of a letter and how long it may be.
type boundedText struct {
	text  *string
	limit int
}

func (l *Letter) texts() []boundedText {
	return []boundedText{
		{&l.Stack, MaxStack},
		{&l.ErrorMessage, maxErrorMessage},
		{&l.Reason, maxReason},
		{&l.ErrorType, maxName},
		{&l.Group, maxName},
		{&l.Actor, maxName},
		{&l.Handler, maxName},
		{&l.Host, maxName},
		{&l.Broker, maxName},
	}
}

func (f *fields) letter(l *Letter) {
	f.text(headerReason, l.Reason)
	f.text(headerErrorType, l.ErrorType)
	f.text(headerErrorMessage, l.ErrorMessage)
	f.int(headerAttempts, int64(l.Attempts))
	f.optionalInt(headerDeliveries, int64(l.Deliveries))
	f.time(headerFirstFailure, l.FirstFailure)
	f.time(headerLastFailure, l.LastFailure)
	f.text(headerGroup, l.Group)
	f.text(headerActor, l.Actor)
	f.text(headerHandler, l.Handler)
	f.text(headerHost, l.Host)
	f.text(headerBroker, l.Broker)
	f.text(headerStack, l.Stack)
}

func (r *reader) letter() Letter {
	return Letter{
		Reason:       r.text(headerReason),
		ErrorType:    r.text(headerErrorType),
		ErrorMessage: r.text(headerErrorMessage),
		Attempts:     int(r.int(headerAttempts, 0)),
		Deliveries:   int(r.int(headerDeliveries, 0)),
		FirstFailure: r.time(headerFirstFailure),
		LastFailure:  r.time(headerLastFailure),
		Group:        r.text(headerGroup),
		Actor:        r.text(headerActor),
		Handler:      r.text(headerHandler),
		Host:         r.text(headerHost),
		Broker:       r.text(headerBroker),
		Stack:        r.text(headerStack),
		Replays:      int(r.int(headerReplays, 0)),
	}
}

func (f *fields) original(m *brokers.Message) {
	id, replays := splitID(m.ID)
	f.add(headerTopic, []byte(m.Topic), brokers.KindString)
	f.int(headerPartition, int64(m.Partition))
	f.int(headerOffset, m.Offset)
	f.raw(headerID, id)
	f.int(headerReplays, int64(replays))
	f.time(headerTime, m.Time)
	f.raw(headerReplyTo, m.ReplyTo)
	f.raw(headerRoutingKey, m.RoutingKey)
	f.duration(headerTTL, m.TTL)
	f.optionalInt(headerPriority, int64(m.Priority))
	f.text(headerKey, keyForPeople(m.Key))
}

// original returns the message whose dead letter is m, but for its headers.
func (r *reader) original(m *brokers.Message) brokers.Message {
	return brokers.Message{
		ID:            joinID(r.raw(headerID), int(r.int(headerReplays, 0))),
		Topic:         r.raw(headerTopic),
		Key:           m.Key,
		Payload:       m.Payload,
		Time:          r.time(headerTime),
		CorrelationID: m.CorrelationID,
		ReplyTo:       r.raw(headerReplyTo),
		ContentType:   m.ContentType,
		TTL:           r.duration(headerTTL),
		Priority:      r.uint8(headerPriority),
		RoutingKey:    r.raw(headerRoutingKey),
		Partition:     int32(r.int(headerPartition, 32)),
		Offset:        r.int(headerOffset, 64),
	}
}

// keyForPeople is the key as text, or in base64 if it is none.
func keyForPeople(key []byte) string {
	if utf8.Valid(key) {
		return shorten(string(key), maxName)
	}
	return shorten("base64:"+base64.StdEncoding.EncodeToString(key), maxName)
}
