package kafka

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// kafka-go reads the batches that the driver writes, checksum and compression
// included, and finds the same in them.
func TestBatch(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	rapid.Check(t, func(t *rapid.T) {
		var msgs []brokers.Message
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			m := anyMessage(t)
			m.Time = time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "time"))
			msgs = append(msgs, m)
		}
		e := encoder{compression: Compression(rapid.IntRange(0, int(CompressZstd)).Draw(t, "compression"))}
		head := batchHead{producer: producer{id: 1 << 40, epoch: 7}, sequence: 1 << 30, transactional: rapid.Bool().Draw(t, "transactional")}
		const before = "before"
		b, err := e.appendBatch([]byte(before), head, len(msgs), func(i int) *brokers.Message { return &msgs[i] }, now)
		if err != nil || string(b[:len(before)]) != before {
			t.Fatalf("batch %q, %v", b, err)
		}
		b = b[len(before):]
		records := readBatch(t, b, &head)
		for i := range msgs {
			wantRecord(t, records, &msgs[i], int64(i))
		}
		if _, err := records.ReadRecord(); !errors.Is(err, io.EOF) {
			t.Fatalf("behind the last record: %v; want the end", err)
		}
	})
}

// What a batch does not get smaller by is not done to it: the cluster would have to
// inflate it, to check it, and so would who reads it.
func TestBatchThatCompressionMakesNoSmaller(t *testing.T) {
	noise := make([]byte, 1<<10)
	_, _ = rand.Read(noise) // it has no way to fail
	text := bytes.Repeat([]byte("again and "), 100)
	encode := func(c Compression, payload []byte) []byte {
		e := encoder{compression: c}
		m := &brokers.Message{Payload: payload, Time: time.UnixMilli(1)}
		b, err := e.appendBatch([]byte("before"), batchHead{producer: noProducer}, 1, func(int) *brokers.Message { return m }, m.Time)
		if err != nil {
			t.Fatal(err)
		}
		return b[len("before"):]
	}
	for c := CompressGzip; c <= CompressZstd; c++ {
		if got := encode(c, noise); !bytes.Equal(got, encode(CompressNone, noise)) {
			t.Errorf("%v: noise has attributes %d, and %d bytes", c, got[batchAttributesAt+1], len(got))
		}
		if got := encode(c, text); Compression(got[batchAttributesAt+1]) != c || len(got) > len(text)/2 {
			t.Errorf("%v: text has attributes %d, and %d bytes", c, got[batchAttributesAt+1], len(got))
		}
	}
}

func readBatch(t *rapid.T, b []byte, want *batchHead) *protocol.RecordBatch {
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))); err != nil {
		t.Fatal(err)
	}
	batch, ok := set.Records.(*protocol.RecordBatch)
	if stream, is := set.Records.(*protocol.RecordStream); is {
		batch, ok = stream.Records[0].(*protocol.RecordBatch)
	}
	if !ok {
		t.Fatalf("it reads as %T", set.Records)
	}
	if batch.ProducerID != want.id || batch.ProducerEpoch != want.epoch || batch.BaseSequence != want.sequence ||
		batch.Attributes.Transactional() != want.transactional {
		t.Fatalf("head %+v; want %+v", batch, want)
	}
	return batch
}

func wantRecord(t *rapid.T, records protocol.RecordReader, m *brokers.Message, offset int64) {
	r, err := records.ReadRecord()
	if err != nil {
		t.Fatal(err)
	}
	key, value := readAll(t, r.Key), readAll(t, r.Value)
	if (r.Key == nil) != (m.Key == nil) || (r.Value == nil) != (m.Payload == nil) || !bytes.Equal(key, m.Key) || !bytes.Equal(value, m.Payload) {
		t.Fatalf("key %q, value %q; want %q, %q", key, value, m.Key, m.Payload)
	}
	if r.Offset != offset || !r.Time.Equal(m.Time) {
		t.Fatalf("offset %d, time %v; want %d, %v", r.Offset, r.Time, offset, m.Time)
	}
	var want recordHeaders
	for i, h := range want.collect(m) {
		if r.Headers[i].Key != h.Key || !bytes.Equal(r.Headers[i].Value, h.Value) {
			t.Fatalf("header %d: %+v; want %+v", i, r.Headers[i], h)
		}
	}
}

func readAll(t *rapid.T, b protocol.Bytes) []byte {
	if b == nil {
		return nil
	}
	text, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
