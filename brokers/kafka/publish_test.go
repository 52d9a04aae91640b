package kafka_test

import (
	"fmt"
	"testing"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// messages are numbered ones of some keys.
func messages(topic string, n, keys int) []brokers.Message {
	msgs := make([]brokers.Message, n)
	for i := range msgs {
		msgs[i] = brokers.Message{
			Topic: topic, Key: fmt.Appendf(nil, "key-%d", i%keys), Payload: fmt.Appendf(nil, "%d", i),
		}
	}
	return msgs
}

func publisher(tb testing.TB, b *kafka.Broker, cfg brokers.PublisherConfig) *brokers.Publisher {
	tb.Helper()
	p, err := b.Publisher(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

var compressions = map[string]kafka.Compression{
	"Gzip": kafka.CompressGzip, "Snappy": kafka.CompressSnappy, "LZ4": kafka.CompressLZ4, "Zstd": kafka.CompressZstd,
}

// Whatever the compression and the acks, what was published is read by another
// client, in order and where the receipts say.
func TestPublish(t *testing.T) {
	for name, change := range map[string]func(*kafka.Config){
		"Default":    nil,
		"Gzip":       nil,
		"Snappy":     nil,
		"LZ4":        nil,
		"Zstd":       nil,
		"AcksLeader": func(c *kafka.Config) { c.Acks = kafka.AcksLeader },
		"AcksNone":   func(c *kafka.Config) { c.Acks = kafka.AcksNone },
		"SmallBatch": func(c *kafka.Config) { c.BatchMessages = 3 },
		"SmallBytes": func(c *kafka.Config) { c.BatchBytes = 200 },
		"SomeLinger": func(c *kafka.Config) { c.Linger = 5e6 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, func(c *kafka.Config) {
				c.Compression = compressions[name]
				if change != nil {
					change(c)
				}
			})
			topic := newTopic(t, b, 3)
			p := publisher(t, b, brokers.PublisherConfig{})
			msgs := messages(topic, 500, 10)
			receipts, err := p.Publish(within(t), msgs...)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Close(within(t)); err != nil {
				t.Fatal(err)
			}
			where := map[string]brokers.Receipt{}
			for i, r := range receipts {
				where[string(msgs[i].Payload)] = r
			}
			last, compressed := map[string]int{}, map[uint8]int{}
			for _, r := range readAll(t, topic, len(msgs)) {
				at := where[string(r.Value)]
				if at.Topic != topic || at.Partition != r.Partition || at.Offset != r.Offset && name != "AcksNone" {
					t.Fatalf("receipt %+v of a record at %d/%d", at, r.Partition, r.Offset)
				}
				var n int
				if _, err := fmt.Sscan(string(r.Value), &n); err != nil || n <= last[string(r.Key)] && last[string(r.Key)] > 0 {
					t.Fatalf("key %s: %s after %d", r.Key, r.Value, last[string(r.Key)])
				}
				last[string(r.Key)] = n
				compressed[r.Attrs.CompressionType()]++
			}
			if used := uint8(compressions[name]); compressed[used] == 0 {
				t.Errorf("records by their compression: %v; want some of %d", compressed, used)
			}
		})
	}
}
