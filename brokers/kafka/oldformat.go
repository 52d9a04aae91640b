package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/troupe-go/troupe/brokers"
)

// Messages of formats 0 and 1, which clusters before 0.11 stored and later ones
// may still have: offset, size, checksum, magic, attributes, of format 1 a
// timestamp, key and value. A compressed one has others in its value.
const (
	oldCRCAt        = 12
	oldAttributesAt = 17
	oldTimeAt       = 18
)

// oldMessage is a message of format 0 or 1.
type oldMessage struct {
	offset     int64
	time       int64 // in milliseconds; -1 of format 0
	appended   bool  // time is the cluster's
	key, value []byte
}

// beginOld reads a message of an old format, and those in it if it is compressed.
func (d *decoder) beginOld(data []byte) error {
	m, compression, err := readOld(data)
	if err != nil {
		return err
	}
	d.shared = &Record{LeaderEpoch: -1, ProducerID: -1, ProducerEpoch: -1, LogAppendTime: m.appended}
	d.end = m.offset + 1
	if compression == CompressNone {
		d.old = []oldMessage{m}
		return nil
	}
	if d.end <= d.next {
		return nil
	}
	inner, err := inflate(compression, m.value, d.maxInflated)
	if err != nil {
		return err
	}
	d.old, err = innerMessages(inner, &m, data[batchMagicAt])
	return err
}

// innerMessages reads what a compressed message has in its value. Offsets of
// format 1 count from the first, and the wrapper has that of the last.
func innerMessages(data []byte, wrapper *oldMessage, magic byte) ([]oldMessage, error) {
	var out []oldMessage
	for len(data) > 0 {
		if len(data) < minBatch {
			return nil, errBatch
		}
		size := batchLengthAt + 4 + int(int32(binary.BigEndian.Uint32(data[batchLengthAt:])))
		if size < minBatch || size > len(data) {
			return nil, errBatch
		}
		m, compression, err := readOld(data[:size])
		if err != nil {
			return nil, err
		}
		if compression != CompressNone {
			return nil, fmt.Errorf("%w: compressed twice", errBatch)
		}
		if wrapper.appended {
			m.time = wrapper.time
		}
		out = append(out, m)
		data = data[size:]
	}
	if magic == 1 && len(out) > 0 {
		first := wrapper.offset - out[len(out)-1].offset
		for i := range out {
			out[i].offset += first
		}
	}
	return out, nil
}

// readOld reads one message.
func readOld(data []byte) (oldMessage, Compression, error) {
	m := oldMessage{time: -1}
	at := oldTimeAt
	if data[batchMagicAt] == 1 {
		at += 8
	}
	if len(data) < at {
		return m, 0, errBatch
	}
	get := binary.BigEndian
	if crc32.ChecksumIEEE(data[batchMagicAt:]) != get.Uint32(data[oldCRCAt:]) {
		return m, 0, errChecksum
	}
	m.offset = int64(get.Uint64(data))
	attributes := data[oldAttributesAt]
	if data[batchMagicAt] == 1 {
		m.time = int64(get.Uint64(data[oldTimeAt:]))
		m.appended = attributes&attributeLogAppendTime != 0
	}
	r := textReader{rest: data[at:]}
	m.key, m.value = r.bytes(), r.bytes()
	if r.bad || len(r.rest) > 0 {
		return m, 0, errBatch
	}
	return m, Compression(attributes & attributeCompression), nil
}

// readOld reads the next message of an old format; false if it was read before.
func (d *decoder) readOld(from *brokers.Message) bool {
	m := d.old[0]
	d.old = d.old[1:]
	fresh := m.offset >= d.next
	if fresh {
		from.Key, from.Payload, from.Headers = m.key, m.value, nil
		d.next = m.offset + 1
		d.describe(from, m.offset, m.time)
	}
	if len(d.old) == 0 {
		d.next = max(d.next, d.end)
	}
	return fresh
}
