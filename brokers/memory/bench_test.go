package memory_test

import (
	"fmt"
	"testing"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

const (
	benchBatch = 500
	benchKeys  = 10_000
)

func benchMessages(n int) []brokers.Message {
	msgs := make([]brokers.Message, n)
	for i := range msgs {
		msgs[i] = brokers.Message{Topic: "t", Key: fmt.Appendf(nil, "key-%d", i%benchKeys), Payload: make([]byte, 100)}
	}
	return msgs
}

func benchBroker(b *testing.B, cfg memory.Config) (*memory.Broker, *brokers.Publisher) {
	b.Helper()
	broker := memory.New(cfg)
	b.Cleanup(func() { _ = broker.Close() })
	pub, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		b.Fatal(err)
	}
	return broker, pub
}

// BenchmarkPublish is per message of 100 bytes, published 500 per call.
func BenchmarkPublish(b *testing.B) {
	_, pub := benchBroker(b, memory.Config{MaxRetained: benchBatch})
	msgs := benchMessages(benchKeys)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%benchBatch != 0 {
			continue
		}
		at := n % benchKeys
		if _, err := pub.Publish(b.Context(), msgs[at:at+benchBatch]...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch is per message of 100 bytes, fetched and acknowledged 500 at a
// time; the publishing is not counted.
func BenchmarkFetch(b *testing.B) {
	broker, pub := benchBroker(b, memory.Config{Partitions: 1, DropSettled: true})
	msgs := benchMessages(20 * benchBatch)
	sub, err := broker.Subscribe(b.Context(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}, MaxUnsettled: benchBatch})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := pub.Publish(b.Context(), msgs...); err != nil {
		b.Fatal(err)
	}
	p, err := sub.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		if n > 0 && n%len(msgs) == 0 {
			b.StopTimer()
			if _, err := pub.Publish(b.Context(), msgs...); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		got, err := p.Fetch(b.Context(), brokers.FetchLimit{Messages: benchBatch, Bytes: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Ack(brokers.Ack{UpTo: got[len(got)-1].Offset}); err != nil {
			b.Fatal(err)
		}
		n += len(got)
	}
}
