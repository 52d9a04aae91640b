package kafka

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// latestProduce is the version of produce requests that are made, or an earlier
// one if the node knows no later. Later ones are laid out differently.
const latestProduce = 8

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// produceFrame is a produce request that is being written. kafka-go would copy
// each batch into it twice.
type produceFrame struct {
	b          []byte
	topic      string
	topics     int // how many so far
	topicsAt   int
	partitions int // how many so far of the topic
	countAt    int
	batches    [][2]int // where they begin and end
}

// newProduceFrame begins a request in the memory of b. All batches of a topic
// have to follow each other.
func newProduceFrame(b []byte, x *conn, transaction string, acks Acks, timeout time.Duration) (*produceFrame, error) {
	version, err := x.version(protocol.Produce)
	if err != nil {
		return nil, err
	}
	b = append(b, 0, 0, 0, 0) // size
	b = binary.BigEndian.AppendUint16(b, uint16(protocol.Produce))
	b = binary.BigEndian.AppendUint16(b, uint16(min(version, latestProduce)))
	b = append(b, 0, 0, 0, 0) // correlation id
	b = appendString(b, x.clientID)
	if transaction == "" {
		b = append(b, 0xff, 0xff)
	} else {
		b = appendString(b, transaction)
	}
	b = binary.BigEndian.AppendUint16(b, acksOnWire(acks))
	b = binary.BigEndian.AppendUint32(b, uint32(timeout/time.Millisecond))
	f := &produceFrame{topicsAt: len(b)}
	f.b = append(b, 0, 0, 0, 0)
	return f, nil
}

func acksOnWire(a Acks) uint16 {
	switch a {
	case AcksLeader:
		return 1
	case AcksNone:
		return 0
	case AcksAll:
	}
	return 0xffff
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// begin begins a batch, which the caller appends to f.b.
func (f *produceFrame) begin(topic string, partition int32) {
	if f.topics == 0 || f.topic != topic {
		f.b = appendString(f.b, topic)
		f.topic, f.partitions, f.countAt = topic, 0, len(f.b)
		f.topics++
		f.b = append(f.b, 0, 0, 0, 0)
	}
	f.partitions++
	binary.BigEndian.PutUint32(f.b[f.countAt:], uint32(f.partitions))
	f.b = binary.BigEndian.AppendUint32(f.b, uint32(partition))
	f.b = append(f.b, 0, 0, 0, 0)
	f.batches = append(f.batches, [2]int{len(f.b), 0})
}

// end ends the batch.
func (f *produceFrame) end() {
	batch := &f.batches[len(f.batches)-1]
	batch[1] = len(f.b)
	binary.BigEndian.PutUint32(f.b[batch[0]-4:], uint32(batch[1]-batch[0]))
}

// finish returns the request.
func (f *produceFrame) finish() []byte {
	binary.BigEndian.PutUint32(f.b[f.topicsAt:], uint32(f.topics))
	binary.BigEndian.PutUint32(f.b, uint32(len(f.b)-4))
	return f.b
}

// batch returns batch i of a request that is finished, whose memory it shares.
func (f *produceFrame) batch(i int) []byte {
	first, end := f.batches[i][0], f.batches[i][1]
	return f.b[first:end:end]
}

// produced is what became of a batch.
type produced struct {
	code   int16
	offset int64
}

// readProduced reads the answer to a produce request.
func readProduced(x *conn, frame []byte) (map[place]produced, error) {
	version, err := x.version(protocol.Produce)
	if err != nil {
		return nil, err
	}
	_, msg, err := protocol.ReadResponse(bytes.NewReader(frame), protocol.Produce, min(version, latestProduce))
	if err != nil {
		return nil, err
	}
	answers := map[place]produced{}
	for _, t := range msg.(*produce.Response).Topics {
		for _, p := range t.Partitions {
			answers[place{t.Topic, p.Partition}] = produced{p.ErrorCode, p.BaseOffset}
		}
	}
	return answers, nil
}
