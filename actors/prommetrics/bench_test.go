package prommetrics_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/prommetrics"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// What the sink adds to a message: the same system without and with it, in turns,
// and the difference of the medians of CPU time. Run it with -benchtime=1x.
func BenchmarkSystem(b *testing.B) {
	const messages, rounds = 300_000, 7
	sink, err := prommetrics.New(prommetrics.Config{Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var off, on []float64
		for range rounds {
			off = append(off, cost(b, messages, nil))
			on = append(on, cost(b, messages, sink.Observe))
		}
		slices.Sort(off)
		slices.Sort(on)
		b.ReportMetric(off[rounds/2], "off-cpu-ns/message")
		b.ReportMetric(on[rounds/2], "on-cpu-ns/message")
		b.ReportMetric(on[rounds/2]-off[rounds/2], "sink-cpu-ns/message")
	}
}

// cost is the CPU time of a message, in ns.
func cost(b *testing.B, messages int, observe func(actors.Event)) float64 {
	b.Helper()
	broker := memory.New(memory.Config{Partitions: 12})
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	for i := range messages {
		m := brokers.Message{Topic: "in", Key: binary.BigEndian.AppendUint64(nil, uint64(i%10_000)), Payload: make([]byte, 100)}
		if err := publisher.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := publisher.Close(ctx); err != nil {
		b.Fatal(err)
	}
	var handled atomic.Int64
	sys, err := actors.NewSystem(actors.Config{Observe: observe}, actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{"in"},
		Actor: actors.Func(func(context.Context, brokers.Message) error {
			if handled.Add(1) == int64(messages) {
				stop()
			}
			return nil
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	before := cpuTime(b)
	if _, err := sys.Run(ctx); err != nil {
		b.Fatal(err)
	}
	spent := cpuTime(b) - before
	if err := broker.Close(); err != nil {
		b.Fatal(err)
	}
	return float64(spent) / float64(messages)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
