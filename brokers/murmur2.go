package brokers

import "encoding/binary"

// PartitionOf returns the partition of a key among n, which is at least 1, as
// Kafka's own clients compute it: murmur2, made positive, modulo n. It is what
// [ByKey] chooses, and how a key's partition is found without publishing.
func PartitionOf(key []byte, n int) int32 {
	return int32(int(murmur2(key)&0x7fffffff) % n)
}

// murmur2 is the hash of that name, in 32 bits and with the seed that Kafka's
// Java client (org.apache.kafka.common.utils.Utils) uses.
func murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
