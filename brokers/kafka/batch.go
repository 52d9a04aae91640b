package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/compress/snappy"

	"github.com/troupe-go/troupe/brokers"
)

// The head of a batch of format 2, which is followed by its records.
const (
	batchLengthAt       = 8  // int32, of what follows
	batchLeaderEpochAt  = 12 // int32, -1: the leader sets it
	batchMagicAt        = 16 // int8, 2
	batchCRCAt          = 17 // uint32, of what follows
	batchAttributesAt   = 21 // int16
	batchLastOffsetAt   = 23 // int32, relative to the base offset
	batchBaseTimeAt     = 27 // int64
	batchMaxTimeAt      = 35 // int64
	batchProducerAt     = 43 // int64
	batchEpochAt        = 51 // int16
	batchBaseSequenceAt = 53 // int32
	batchCountAt        = 57 // int32
	batchHeadSize       = 61

	// What attributes say besides the compression.
	attributeTransactional = 1 << 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// producer identifies who publishes to the cluster.
type producer struct {
	id    int64
	epoch int16
}

// noProducer publishes without idempotence.
var noProducer = producer{-1, -1}

// batchHead is what is to be in the head of a batch.
type batchHead struct {
	producer
	sequence      int32 // of the first record; -1 without a producer
	transactional bool
}

// encoder turns messages into batches, one at a time.
type encoder struct {
	compression Compression
	headers     recordHeaders
	scratch     []byte // records that are to be compressed
	writer      appendWriter
}

// appendBatch appends a batch of n messages to b. Those without a time get now.
func (e *encoder) appendBatch(b []byte, head batchHead, n int, message func(i int) *brokers.Message, now time.Time) ([]byte, error) {
	first := len(b)
	b = append(b, make([]byte, batchHeadSize)...)
	base, latest := timestamp(message(0), now), int64(math.MinInt64)
	records := b
	if e.compression != CompressNone {
		records = e.scratch[:0]
	}
	for i := range n {
		m := message(i)
		at := timestamp(m, now)
		latest = max(latest, at)
		records = appendRecord(records, m, e.headers.collect(m), i, at-base)
	}
	used := e.compression
	if used == CompressNone {
		b = records
	} else {
		e.keepScratch(records)
		var err error
		if b, used, err = e.compress(b, records); err != nil {
			return nil, err
		}
	}
	finish(b[first:], used, head, n, base, latest)
	return b, nil
}

// keepScratch keeps memory for the next batch, unless it is much.
func (e *encoder) keepScratch(records []byte) {
	e.scratch = nil
	if cap(records) <= 4<<20 {
		e.scratch = records
	}
}

// compress appends records compressed, or as they are if they get no smaller: the
// cluster inflates what is compressed, to check it, and so does who reads it.
func (e *encoder) compress(b, records []byte) ([]byte, Compression, error) {
	first := len(b)
	e.writer.b = b
	w := codec(e.compression).NewWriter(&e.writer)
	_, err := w.Write(records)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	b, e.writer.b = e.writer.b, nil
	if err != nil {
		return nil, CompressNone, fmt.Errorf("kafka: compress a batch: %w", err)
	}
	if len(b)-first >= len(records) {
		return append(b[:first], records...), CompressNone, nil
	}
	return b, e.compression, nil
}

// quickSnappy is as other clients write it: in one piece, and half as dear as
// kafka-go's default.
var quickSnappy = &snappy.Codec{Framing: snappy.Unframed, Compression: snappy.FasterCompression}

func codec(c Compression) compress.Codec {
	if c == CompressSnappy {
		return quickSnappy
	}
	return compress.Compression(c).Codec()
}

// appendWriter appends what is written.
type appendWriter struct{ b []byte }

func (w *appendWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// finish fills in the head of a batch.
func finish(batch []byte, used Compression, head batchHead, count int, base, latest int64) {
	attributes := uint16(used)
	if head.transactional {
		attributes |= attributeTransactional
	}
	put := binary.BigEndian
	put.PutUint32(batch[batchLengthAt:], uint32(len(batch)-batchLeaderEpochAt))
	put.PutUint32(batch[batchLeaderEpochAt:], math.MaxUint32)
	batch[batchMagicAt] = 2
	put.PutUint16(batch[batchAttributesAt:], attributes)
	put.PutUint32(batch[batchLastOffsetAt:], uint32(count-1))
	put.PutUint64(batch[batchBaseTimeAt:], uint64(base))
	put.PutUint64(batch[batchMaxTimeAt:], uint64(latest))
	put.PutUint64(batch[batchProducerAt:], uint64(head.id))
	put.PutUint16(batch[batchEpochAt:], uint16(head.epoch))
	put.PutUint32(batch[batchBaseSequenceAt:], uint32(head.sequence))
	put.PutUint32(batch[batchCountAt:], uint32(count))
	put.PutUint32(batch[batchCRCAt:], crc32.Checksum(batch[batchAttributesAt:], castagnoli))
}

// batchSize estimates what a message takes of a batch: no less than that, unless
// a troupe-bin header is needed.
func batchSize(m *brokers.Message) int {
	const numbers, names = 40, 80 // of the record, and of headers for fields
	n := numbers + m.Size() + 16*len(m.Headers)
	if m.ID != "" || m.CorrelationID != "" || m.ReplyTo != "" || m.ContentType != "" {
		n += names
	}
	return n
}
