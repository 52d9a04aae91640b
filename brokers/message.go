package brokers

import (
	"bytes"
	"time"
)

// NoOffset stands for "no position": it is below every offset a broker gives.
const NoOffset int64 = -1

// Message is one event, command or reply, as it is published and as it is
// received. The table in the package comment says how each driver carries each
// field.
//
// A Message is a value; its byte slices are shared. What a driver hands out may
// share one receive buffer with its neighbours: who keeps a message for long
// keeps a [Message.Clone].
type Message struct {
	// ID identifies the message for deduplication. Publishers that set none
	// leave the choice to the driver: see the table.
	ID string
	// Topic is the stream: a Kafka topic, a JetStream stream's subject root, a
	// RabbitMQ exchange.
	Topic string
	// Key orders: messages of equal key are handled one at a time, in order.
	// Nil is "no key"; empty is a key.
	Key []byte
	// Payload is the body. Nil (a Kafka tombstone) and empty are different,
	// and stay different on every driver.
	Payload []byte
	// Headers are kept in order, duplicates included. What a broker adds on the
	// way is in Broker, not here.
	Headers Headers
	// Time is when the event was published. Zero is now, by the clock of the
	// broker, or of the driver where the broker sets none.
	Time time.Time
	// CorrelationID joins a reply to its request and an effect to its cause.
	CorrelationID string
	// ReplyTo is where the answer to a request is to go.
	ReplyTo string
	// ContentType is the media type of Payload.
	ContentType string
	// TTL is how long the broker keeps the message; 0 is for ever. Brokers
	// that count in coarser units round up.
	TTL time.Duration
	// Priority is 0 (lowest) to 9, where Features.Priority says it is honoured.
	Priority uint8
	// RoutingKey is RabbitMQ's; empty lets the driver route by partition, and is
	// what the receiver then sees.
	RoutingKey string

	// Partition is where the message lies. On publishing it is read by the
	// [Explicit] partitioner only.
	Partition int32
	// Offset is the message's position in its partition and epoch: a Kafka
	// offset, a JetStream sequence, a RabbitMQ delivery tag, which begins anew in
	// each epoch. It grows, with gaps.
	Offset int64
	// Epoch is the ownership under which the message was received.
	Epoch uint64
	// DeliveryCount is how often the broker says it delivered the message, this
	// time included; 0 where the broker does not count. It is an upper bound:
	// deliveries that lay in a driver and were never fetched may count.
	DeliveryCount int
	// Broker holds the driver's own facts (exchange, x-death, pin), in a type
	// that the driver documents. Nil on messages that were not received.
	Broker any
}

// Clone returns a copy that shares no memory with m, but for Broker.
func (m *Message) Clone() Message {
	c := *m
	c.Key = bytes.Clone(m.Key)
	c.Payload = bytes.Clone(m.Payload)
	c.Headers = m.Headers.Clone()
	return c
}

// Size is what m counts against limits in bytes: key, payload, headers and the
// texts that brokers carry beside them.
func (m *Message) Size() int {
	return len(m.Key) + len(m.Payload) + m.Headers.size() +
		len(m.ID) + len(m.CorrelationID) + len(m.ReplyTo) + len(m.ContentType) + len(m.RoutingKey)
}
