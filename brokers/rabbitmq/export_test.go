package rabbitmq

import "context"

// PartitionCount is what publishing goes by; 0 if it cannot be found out.
func (b *Broker) PartitionCount(ctx context.Context, topic string) int {
	n, err := b.topics.get(ctx, topic)
	if err != nil {
		return 0
	}
	return n
}

// GroupQueue is the name of a group's queue.
func GroupQueue(topic, group string, partition int) string {
	return groupQueue(topic, group, partition)
}
