package actors_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// BenchmarkHandle measures what the runtime adds to a message: the messages are
// in the broker before the clock starts.
func BenchmarkHandle(b *testing.B) {
	for _, keys := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			broker := filled(b, keys, b.N)
			var handled atomic.Int64
			done := make(chan struct{})
			total := int64(b.N)
			measure(b, func() {
				run(b, actors.Subscription{
					Group: "g", Broker: broker, Topics: []string{"in"},
					Actor: actors.Func(func(context.Context, brokers.Message) error {
						if handled.Add(1) == total {
							close(done)
						}
						return nil
					}),
				}, done)
			})
		})
	}
}

// BenchmarkBlocking handles with a sleep of 1 ms, on 10,000 keys.
func BenchmarkBlocking(b *testing.B) {
	for _, workers := range []int{64, 256, 1024} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			broker := filled(b, 10_000, b.N)
			var handled atomic.Int64
			done := make(chan struct{})
			total := int64(b.N)
			measure(b, func() {
				run(b, actors.Subscription{
					Group: "g", Broker: broker, Topics: []string{"in"}, Concurrency: workers,
					Actor: actors.Func(func(context.Context, brokers.Message) error {
						<-time.After(time.Millisecond)
						if handled.Add(1) == total {
							close(done)
						}
						return nil
					}),
				}, done)
			})
		})
	}
}

func filled(b *testing.B, keys, n int) *memory.Broker {
	b.Helper()
	broker := memory.New(memory.Config{Partitions: 12})
	b.Cleanup(func() { _ = broker.Close() })
	pub, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 100)
	failed := func(_ brokers.Receipt, err error) {
		if err != nil {
			b.Error(err)
		}
	}
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%keys)*0x9e3779b97f4a7c15)
		if err := pub.PublishAsync(b.Context(), brokers.Message{Topic: "in", Key: key, Payload: payload}, failed); err != nil {
			b.Fatal(err)
		}
	}
	if err := pub.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return broker
}

func run(b *testing.B, sub actors.Subscription, done <-chan struct{}) {
	b.Helper()
	runAnd(b, sub, done, func(*actors.System) {})
}

// runAnd runs a system, does something when all is handled, and stops it.
func runAnd(b *testing.B, sub actors.Subscription, done <-chan struct{}, f func(*actors.System)) {
	b.Helper()
	sys, err := actors.NewSystem(actors.Config{}, sub)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() {
		_, err := sys.Run(ctx)
		ended <- err
	}()
	<-done
	f(sys)
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// measure adds the CPU time of the process per operation.
func measure(b *testing.B, f func()) {
	b.Helper()
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	f()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSnapshot looks at a million keys, a thousand of which wait.
func BenchmarkSnapshot(b *testing.B) {
	const keys = 1_000_000
	broker := filled(b, keys, keys)
	var decided atomic.Int64
	done := make(chan struct{})
	sub := actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{"in"}, Policy: supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(time.Hour)},
		Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
			n := decided.Add(1)
			if n == keys {
				close(done)
			}
			if n%1000 == 0 {
				return errFlaky
			}
			return nil
		}),
	}
	runAnd(b, sub, done, func(sys *actors.System) {
		for b.Loop() {
			if s := sys.Snapshot(b.Context()); len(s.Subscriptions[0].Partitions) != 12 {
				b.Fatalf("%d partitions", len(s.Subscriptions[0].Partitions))
			}
		}
	})
}
