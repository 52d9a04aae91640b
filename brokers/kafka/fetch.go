package kafka

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

const (
	// latestFetch is the version of fetch requests that are made, or an earlier one
	// if the node knows no later; earliestFetch brings format 2 and what was aborted.
	latestFetch   = 11
	earliestFetch = 4
)

var errFetched = errors.New("kafka: malformed answer to a fetch request")

// fetchLimits are those of a fetch request.
type fetchLimits struct {
	wait           time.Duration // for a first message
	bytes          int
	partitionBytes int
	committed      bool
}

// wanted is a partition of a fetch request.
type wanted struct {
	place
	offset int64
}

// fetched is what came of a partition.
type fetched struct {
	place
	code      int16
	end       int64 // the offset up to which can be read
	leftBelow int64 // the first offset of the log; -1 if not known
	segment   segment
}

// fetchFrame makes a fetch request in the memory of b. Partitions of a topic
// follow each other.
func fetchFrame(b []byte, x *conn, l fetchLimits, list []wanted) ([]byte, int16, error) {
	version, err := x.version(protocol.Fetch)
	if err != nil {
		return nil, 0, err
	}
	version = min(version, latestFetch)
	if version < earliestFetch {
		return nil, 0, fmt.Errorf("kafka: %s is older than Kafka 0.11: %w", x.address, kafkago.UnsupportedVersion)
	}
	put := binary.BigEndian
	b = append(b[:0], 0, 0, 0, 0) // size
	b = put.AppendUint16(b, uint16(protocol.Fetch))
	b = put.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 0) // correlation id
	b = appendString(b, x.clientID)
	b = put.AppendUint32(b, math.MaxUint32) // no replica
	b = put.AppendUint32(b, uint32(l.wait/time.Millisecond))
	b = put.AppendUint32(b, 1)
	b = put.AppendUint32(b, uint32(l.bytes))
	isolation := byte(0)
	if l.committed {
		isolation = 1
	}
	b = append(b, isolation)
	if version >= 7 { // no session
		b = put.AppendUint32(b, 0)
		b = put.AppendUint32(b, math.MaxUint32)
	}
	b = appendWanted(b, version, l.partitionBytes, list)
	if version >= 7 {
		b = put.AppendUint32(b, 0) // forgotten topics
	}
	if version >= 11 {
		b = append(b, 0, 0) // rack
	}
	put.PutUint32(b, uint32(len(b)-4))
	return b, version, nil
}

func appendWanted(b []byte, version int16, partitionBytes int, list []wanted) []byte {
	put := binary.BigEndian
	topicsAt, topics, countAt, count := len(b), uint32(0), 0, uint32(0)
	b = append(b, 0, 0, 0, 0)
	for i := range list {
		w := &list[i]
		if i == 0 || list[i-1].topic != w.topic {
			b = appendString(b, w.topic)
			topics++
			countAt, count = len(b), 0
			b = append(b, 0, 0, 0, 0)
		}
		count++
		put.PutUint32(b[countAt:], count)
		b = put.AppendUint32(b, uint32(w.partition))
		if version >= 9 {
			b = put.AppendUint32(b, math.MaxUint32) // leader epoch
		}
		b = put.AppendUint64(b, uint64(w.offset))
		if version >= 5 {
			b = put.AppendUint64(b, math.MaxUint64) // log start, of replicas
		}
		b = put.AppendUint32(b, uint32(partitionBytes))
	}
	put.PutUint32(b[topicsAt:], topics)
	return b
}

// readFetched reads an answer, whose memory the segments share.
func readFetched(frame []byte, version int16, out []fetched) ([]fetched, error) {
	r := textReader{rest: frame}
	r.take(8) // size and correlation id
	r.int32() // throttled
	if version >= 7 {
		if err := codeError(r.int16()); err != nil {
			return nil, err
		}
		r.int32() // session
	}
	for range r.count(6) {
		topic := r.string()
		for range r.count(22) {
			out = append(out, r.fetched(topic, version))
		}
	}
	if r.bad {
		return nil, errFetched
	}
	return out, nil
}

// fetched reads what came of one partition.
func (r *textReader) fetched(topic string, version int16) fetched {
	f := fetched{place: place{topic, r.int32()}, code: r.int16(), leftBelow: -1}
	high, stable := r.int64(), r.int64()
	f.end = high
	if stable >= 0 {
		f.end = min(high, stable)
	}
	if version >= 5 {
		f.leftBelow = r.int64()
	}
	for range r.count(16) {
		f.segment.aborted = append(f.segment.aborted, abortedTransaction{producer: r.int64(), first: r.int64()})
	}
	slices.SortFunc(f.segment.aborted, func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
	if version >= 11 {
		r.int32() // a replica to read from, which is offered to who names a rack
	}
	f.segment.data = r.bytes()
	return f
}

// scan says what a segment has: how many records at most, and the offset after its
// last whole batch, which is from if there is none.
func (s *segment) scan(from int64) (end int64) {
	end = from
	get := binary.BigEndian
	for data := s.data; len(data) >= minBatch; {
		size := batchLengthAt + 4 + int(int32(get.Uint32(data[batchLengthAt:])))
		if size < minBatch || size > len(data) {
			break
		}
		last, count := int64(get.Uint64(data)), 1
		if data[batchMagicAt] >= 2 && size >= batchHeadSize {
			last += int64(int32(get.Uint32(data[batchLastOffsetAt:])))
			count = int(int32(get.Uint32(data[batchCountAt:])))
		}
		s.records += max(count, 0)
		end = max(end, last+1)
		data = data[size:]
	}
	return end
}
