package kafka

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
)

// FromRecord is the message that a record is, as another client has read it.
func FromRecord(key, value []byte, headers []brokers.Header) (brokers.Message, error) {
	var m brokers.Message
	b := appendRecord(nil, &brokers.Message{Key: key, Payload: value}, headers, 0, 0)
	_, _, err := readRecord(b, &m)
	return m, err
}

// PartitionCount is how many partitions a topic has.
func (b *Broker) PartitionCount(ctx context.Context, topic string) int {
	t, _ := b.client.metadata.topic(ctx, topic)
	return len(t.leaders)
}
