package brokers

// Partitioner chooses the partition of a message among n.
type Partitioner interface {
	Partition(m *Message, n int) (int32, error)
}

// ByKey partitions by key, as Kafka's own clients do.
func ByKey(key KeyFunc) Partitioner { return nil }

// RoundRobin takes the partitions in turn.
func RoundRobin() Partitioner { return nil }

// Sticky stays on a partition for a while.
func Sticky() Partitioner { return nil }

// Explicit takes Message.Partition.
func Explicit() Partitioner { return nil }

// PartitionOf returns the partition of a key among n, as Kafka's own clients
// compute it.
func PartitionOf(key []byte, n int) int32 { return 0 }
