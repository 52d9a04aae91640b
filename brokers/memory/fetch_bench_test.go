package memory

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

func BenchmarkFetchX(b *testing.B) {
	for _, hdr := range []int{0, 3} {
		b.Run(fmt.Sprint(hdr), func(b *testing.B) {
			br := New(Config{Partitions: 1, DropSettled: true})
			_ = br.EnsureTopic(context.Background(), brokers.TopicConfig{Name: "t"})
			l := br.server.topic("t").logs[0]
			sub, _ := br.Subscribe(context.Background(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"t"}})
			p, _ := sub.Accept(context.Background())
			var batch []*brokers.Message
			for i := range 500 {
				m := &brokers.Message{Key: fmt.Appendf(nil, "key%d", i), Payload: make([]byte, 100)}
				for range hdr {
					m.Headers = append(m.Headers, brokers.Header{Key: "hhhhh", Value: make([]byte, 20)})
				}
				batch = append(batch, m)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var ru0 syscall.Rusage
			syscall.Getrusage(0, &ru0)
			var tp, tf time.Duration
			for i := 0; i < b.N; i += 500 {
				t0 := time.Now()
				l.append(batch, t0)
				t1 := time.Now()
				n := 0
				for n < 500 {
					got, _ := p.Fetch(context.Background(), brokers.FetchLimit{Messages: 500, Bytes: 1 << 20})
					_ = p.Ack(brokers.Ack{UpTo: got[len(got)-1].Offset})
					n += len(got)
				}
				t2 := time.Now()
				tp += t1.Sub(t0)
				tf += t2.Sub(t1)
			}
			var ru1 syscall.Rusage
			syscall.Getrusage(0, &ru1)
			b.ReportMetric(float64(ru1.Utime.Nano()+ru1.Stime.Nano()-ru0.Utime.Nano()-ru0.Stime.Nano())/float64(b.N), "cpu-ns/msg")
			b.ReportMetric(float64(tp.Nanoseconds())/float64(b.N), "pub-ns/msg")
			b.ReportMetric(float64(tf.Nanoseconds())/float64(b.N), "fetch-ns/msg")
		})
	}
}
