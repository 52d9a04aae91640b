//go:build unix

package brokers

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPublisher is what a publisher costs by itself, for 10,000 keys. An
// operation is one message asynchronously, or a call with 1,000.
func BenchmarkPublisher(b *testing.B) {
	for _, c := range []struct {
		name     string
		features Features
		cfg      PublisherConfig
	}{
		{"lanes", Features{}, PublisherConfig{}},
		{"lanes-full", Features{}, PublisherConfig{MaxBuffered: 4096}},
		{"sequenced", Features{SequencedPublish: true}, PublisherConfig{}},
		{"unordered", Features{}, PublisherConfig{Order: OrderNone}},
	} {
		b.Run("async/"+c.name, func(b *testing.B) {
			failed := func(_ Receipt, err error) {
				if err != nil {
					b.Error(err)
				}
			}
			benchmarkPublisher(b, c.features, c.cfg, 1, func(p *Publisher, msgs []Message) error {
				return p.PublishAsync(context.Background(), msgs[0], failed)
			})
		})
		b.Run("sync/"+c.name, func(b *testing.B) {
			benchmarkPublisher(b, c.features, c.cfg, 1000, func(p *Publisher, msgs []Message) error {
				_, err := p.Publish(context.Background(), msgs...)
				return err
			})
		})
	}
}

// benchmarkPublisher gives publish n messages at a time.
func benchmarkPublisher(b *testing.B, f Features, cfg PublisherConfig, n int, publish func(*Publisher, []Message) error) {
	p, err := NewPublisher(newBatchSender(), f, cfg)
	if err != nil {
		b.Fatal(err)
	}
	msgs, payload := make([]Message, 10_000), make([]byte, 100)
	for i := range msgs {
		msgs[i] = Message{Topic: "orders", Key: fmt.Appendf(nil, "customer-%d", i), Payload: payload}
	}
	b.ReportAllocs()
	before, next := cpu(), 0
	for b.Loop() {
		if err := publish(p, msgs[next:next+n]); err != nil {
			b.Fatal(err)
		}
		next = (next + n) % len(msgs)
	}
	if err := p.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N*n), "cpu-ns/msg")
}
