package brokers

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// batchSender confirms whole batches from a goroutine of its own, as a broker
// at no distance would.
type batchSender struct {
	batches chan []*Outbound
	spare   sync.Pool
	wg      sync.WaitGroup
}

func newBatchSender() *batchSender {
	s := &batchSender{batches: make(chan []*Outbound, 1024)}
	s.wg.Go(func() {
		for batch := range s.batches {
			for _, o := range batch {
				o.Done(Receipt{Topic: o.Message.Topic, Partition: o.Partition}, nil)
			}
			s.spare.Put(&batch)
		}
	})
	return s
}

func (s *batchSender) Partitions(context.Context, string) (int, error) { return 12, nil }

func (s *batchSender) Send(_ context.Context, batch []*Outbound) {
	kept, _ := s.spare.Get().(*[]*Outbound)
	if kept == nil {
		kept = new([]*Outbound)
	}
	s.batches <- append((*kept)[:0], batch...)
}

func (s *batchSender) Flush() {}

func (s *batchSender) Close() error {
	close(s.batches)
	s.wg.Wait()
	return nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPublisher is what a publisher costs by itself, for each message.
func BenchmarkPublisher(b *testing.B) {
	keys := make([][]byte, 10_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "customer-%d", i)
	}
	payload := make([]byte, 100)
	for _, mode := range []struct {
		name      string
		sequenced bool
		order     Order
		buffered  int
	}{
		{"lanes", false, OrderPerKey, 0},
		{"lanes/full", false, OrderPerKey, 4096},
		{"sequenced", true, OrderPerKey, 0},
		{"none", false, OrderNone, 0},
	} {
		b.Run(mode.name+"/async", func(b *testing.B) {
			p, err := NewPublisher(newBatchSender(), Features{SequencedPublish: mode.sequenced}, PublisherConfig{Order: mode.order, MaxBuffered: mode.buffered})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			failed := func(_ Receipt, err error) {
				if err != nil {
					b.Error(err)
				}
			}
			b.ReportAllocs()
			before, i := cpu(), 0
			for b.Loop() {
				if err := p.PublishAsync(ctx, Message{Topic: "orders", Key: keys[i%len(keys)], Payload: payload}, failed); err != nil {
					b.Fatal(err)
				}
				i++
			}
			if err := p.Close(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
		b.Run(mode.name+"/sync", func(b *testing.B) {
			p, err := NewPublisher(newBatchSender(), Features{SequencedPublish: mode.sequenced}, PublisherConfig{Order: mode.order, MaxBuffered: mode.buffered})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			msgs := make([]Message, 1000)
			b.ReportAllocs()
			before, i := cpu(), 0
			for range b.N / len(msgs) {
				for k := range msgs {
					msgs[k] = Message{Topic: "orders", Key: keys[i%len(keys)], Payload: payload}
					i++
				}
				if _, err := p.Publish(ctx, msgs...); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Close(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpu()-before)/float64(max(i, 1)), "cpu-ns/op")
		})
	}
}
