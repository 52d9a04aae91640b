package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-go/troupe/brokers"
)

// oldBroker is a node from before 0.11, which keeps what is sent to it. It has one
// topic of one partition.
type oldBroker struct {
	listener net.Listener
	sent     chan []byte // the messages of each produce request
}

func newOldBroker(t *testing.T) *oldBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &oldBroker{l, make(chan []byte, 2)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				if err := b.serve(nc); !errors.Is(err, io.EOF) {
					t.Errorf("a node from before 0.11: %v", err)
				}
				_ = nc.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return b
}

// serve answers the requests of one connection.
func (b *oldBroker) serve(nc net.Conn) error {
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return err
		}
		request := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, request); err != nil {
			return err
		}
		head := textReader{rest: request}
		key, version := head.int16(), head.int16()
		correlation := slices.Clone(request[4:8])
		head.take(4)
		head.string()
		answer, err := b.answer(kmsg.RequestForKey(key), version, head.rest)
		if err != nil {
			return err
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(answer)))
		if _, err := nc.Write(slices.Concat(frame, correlation, answer)); err != nil {
			return err
		}
	}
}

func (b *oldBroker) answer(request kmsg.Request, version int16, body []byte) ([]byte, error) {
	request.SetVersion(version)
	if err := request.ReadFrom(body); err != nil {
		return nil, err
	}
	answer := request.ResponseKind()
	switch a := answer.(type) {
	case *kmsg.MetadataResponse:
		address := b.listener.Addr().(*net.TCPAddr)
		topic := "t"
		a.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: address.IP.String(), Port: int32(address.Port)}}
		a.Topics = []kmsg.MetadataResponseTopic{{Topic: &topic, Partitions: []kmsg.MetadataResponseTopicPartition{{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}}}}
	case *kmsg.ApiVersionsResponse:
		a.ApiKeys = []kmsg.ApiVersionsResponseApiKey{
			{ApiKey: int16(kmsg.Produce), MaxVersion: 2}, {ApiKey: int16(kmsg.Metadata), MaxVersion: 1}, {ApiKey: int16(kmsg.ApiVersions)},
		}
	case *kmsg.ProduceResponse:
		select {
		case b.sent <- request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records:
		default: // it was not in one request
		}
		a.Topics = []kmsg.ProduceResponseTopic{{Topic: "t", Partitions: []kmsg.ProduceResponseTopicPartition{{}}}}
	default:
		return nil, fmt.Errorf("unexpected request %s", kmsg.NameForKey(request.Key()))
	}
	return answer.AppendTo(nil), nil
}

// manyBytes are worth compressing.
var manyBytes = bytes.Repeat([]byte("second, "), 100)

// recorded is what franz-go sends of three records to a node of a version, in one
// request: it sends some of them ahead if it learns of the topic while it flushes.
func recorded(t *testing.T, versions *kversion.Versions, codec kgo.CompressionCodec) []byte {
	t.Helper()
	for range 20 {
		if b := record(t, versions, codec); len(b.sent) == 1 {
			return <-b.sent
		}
	}
	t.Fatal("no request had all records")
	return nil
}

func record(t *testing.T, versions *kversion.Versions, codec kgo.CompressionCodec) *oldBroker {
	t.Helper()
	b := newOldBroker(t)
	c, err := kgo.NewClient(
		kgo.SeedBrokers(b.listener.Addr().String()), kgo.MaxVersions(versions), kgo.DisableIdempotentWrite(),
		kgo.ProducerBatchCompression(codec), kgo.ManualFlushing(), kgo.DefaultProduceTopic("t"), kgo.MetadataMinAge(10*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, r := range []*kgo.Record{{Key: []byte("k"), Value: []byte("first")}, {Value: manyBytes}, {Key: []byte{}}} {
		r.Timestamp = time.UnixMilli(int64(1_000 * (i + 1)))
		c.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// storedAt is messages as a node stores them from an offset on: it numbers those that
// are not compressed, and gives a compressed one the number of the last in it. That
// of format 0 it would have compressed anew for the numbers within, but from 0 on
// they are right.
func storedAt(data []byte, first int64) []byte {
	data = slices.Clone(data)
	for at, i := 0, 0; at < len(data); i++ {
		offset := first + int64(i)
		if data[at+oldAttributesAt]&attributeCompression != 0 {
			offset = first + 2
		}
		binary.BigEndian.PutUint64(data[at:], uint64(offset))
		at += batchLengthAt + 4 + int(binary.BigEndian.Uint32(data[at+batchLengthAt:]))
	}
	return data
}

// Messages of formats 0 and 1, as another client sends them to nodes that have no
// other.
func TestDecodeRecordedOldFormats(t *testing.T) {
	for _, c := range []struct {
		name     string
		versions *kversion.Versions
		magic    byte
		first    int64
		times    []int64
	}{
		{"0", kversion.V0_9_0(), 0, 0, []int64{-1, -1, -1}},
		{"1", kversion.V0_10_0(), 1, 40, []int64{1000, 2000, 3000}},
	} {
		for name, codec := range map[string]kgo.CompressionCodec{
			"None": kgo.NoCompression(), "Gzip": kgo.GzipCompression(), "Snappy": kgo.SnappyCompression(), "LZ4": kgo.Lz4Compression(),
		} {
			t.Run("Format"+c.name+"/"+name, func(t *testing.T) {
				data := storedAt(recorded(t, c.versions, codec), c.first)
				if data[batchMagicAt] != c.magic {
					t.Fatalf("recorded format %d; want %d", data[batchMagicAt], c.magic)
				}
				if compressed := data[oldAttributesAt]&attributeCompression != 0; compressed != (name != "None") {
					t.Fatalf("compressed: %v", compressed)
				}
				s := segment{data: data}
				s.scan(c.first)
				d := &decoder{topic: "t", next: c.first, maxInflated: 1 << 12}
				d.load(s)
				f := feed{place: place{topic: "t"}, decoder: *d}
				got := f.take(brokers.FetchLimit{Messages: 10})
				if len(got) != 3 || f.decoder.next != c.first+3 {
					t.Fatalf("got %d messages, next %d, fault %v; want 3, next %d", len(got), f.decoder.next, f.corrupt, c.first+3)
				}
				for i, want := range []struct{ key, value []byte }{{[]byte("k"), []byte("first")}, {nil, manyBytes}, {[]byte{}, nil}} {
					m := got[i]
					if m.Offset != c.first+int64(i) || string(m.Key) != string(want.key) || (m.Key == nil) != (want.key == nil) ||
						string(m.Payload) != string(want.value) || (m.Payload == nil) != (want.value == nil) {
						t.Errorf("message %d is %+v", i, m)
					}
					if c.times[i] >= 0 && m.Time.UnixMilli() != c.times[i] || c.times[i] < 0 && !m.Time.IsZero() {
						t.Errorf("message %d has time %v; want %d ms", i, m.Time, c.times[i])
					}
				}
			})
		}
	}
}
