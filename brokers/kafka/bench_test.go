package kafka_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// The benchmarks run the driver and franz-go against the same cluster, in turns,
// and report medians. Run them with -benchtime=1x.
const (
	benchRounds     = 7
	benchKeys       = 10_000
	benchPartitions = 12
	benchCall       = 100 // messages of one synchronous call
	benchCallers    = 16
)

// sample is what one message cost.
type sample struct{ rate, cpu, allocs float64 }

// contender publishes n messages and returns when all are confirmed.
type contender struct {
	name    string
	base    string
	publish func(n int) error
}

func (c contender) measure(n int) (sample, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began, used := time.Now(), cpuTime()
	err := c.publish(n)
	took, spent := time.Since(began), cpuTime()-used
	runtime.ReadMemStats(&after)
	return sample{
		rate:   float64(n) / took.Seconds(),
		cpu:    float64(spent.Nanoseconds()) / 1000 / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, err
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// compete runs the contenders in turns and reports each one's medians, and its
// rate as part of its base's.
func compete(b *testing.B, n int, contenders []contender) {
	b.Helper()
	samples := map[string][]sample{}
	for round := range benchRounds {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			s, err := c.measure(n)
			if err != nil {
				b.Fatalf("%s: %v", c.name, err)
			}
			samples[c.name] = append(samples[c.name], s)
		}
	}
	for _, c := range contenders {
		rate := median(samples[c.name], func(s sample) float64 { return s.rate })
		b.ReportMetric(rate, c.name+"-msg/s")
		b.ReportMetric(median(samples[c.name], func(s sample) float64 { return s.cpu }), c.name+"-us-cpu/msg")
		b.ReportMetric(median(samples[c.name], func(s sample) float64 { return s.allocs }), c.name+"-allocs/msg")
		if c.base != "" {
			b.ReportMetric(rate/median(samples[c.base], func(s sample) float64 { return s.rate }), c.name+"/"+c.base)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i := range samples {
		values[i] = of(samples[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func BenchmarkPublish(b *testing.B) {
	for _, size := range []struct{ bytes, async, sync int }{{100, 200_000, 100_000}, {1000, 100_000, 50_000}} {
		for _, compression := range []string{"None", "Gzip", "Snappy", "LZ4", "Zstd"} {
			name := fmt.Sprintf("%dB/%s", size.bytes, compression)
			b.Run("Async/"+name, func(b *testing.B) {
				r := newRace(b, size.bytes, compression)
				compete(b, size.async, []contender{{"franz", "", r.franzAsync}, {"troupe", "franz", r.troupeAsync}})
			})
			b.Run("Calls/"+name, func(b *testing.B) {
				r := newRace(b, size.bytes, compression)
				compete(b, size.sync, []contender{{"franz", "", r.franzCalls}, {"troupe", "franz", r.troupeCalls}})
			})
		}
	}
}

// race is what both contenders publish with.
type race struct {
	ctx     context.Context
	topic   string
	payload []byte
	keys    [][]byte
	troupe  *brokers.Publisher
	franz   *kgo.Client
}

func newRace(b *testing.B, size int, compression string) *race {
	b.Helper()
	broker := open(b, func(c *kafka.Config) { c.Compression = compressions[compression] })
	codec := map[string]kgo.CompressionCodec{
		"None": kgo.NoCompression(), "Gzip": kgo.GzipCompression(), "Snappy": kgo.SnappyCompression(),
		"LZ4": kgo.Lz4Compression(), "Zstd": kgo.ZstdCompression(),
	}[compression]
	r := &race{ctx: b.Context(), topic: newTopic(b, broker, benchPartitions), payload: make([]byte, size)}
	for i := range r.payload {
		r.payload[i] = byte('a' + i*7%26)
	}
	for i := range benchKeys {
		r.keys = append(r.keys, []byte("key-"+strconv.Itoa(i)))
	}
	r.troupe = publisher(b, broker, brokers.PublisherConfig{MaxBuffered: 10_000})
	b.Cleanup(func() { _ = r.troupe.Close(context.Background()) })
	r.franz = reader(b, kgo.ProducerBatchCompression(codec))
	return r
}

func (r *race) message(i int) brokers.Message {
	return brokers.Message{Topic: r.topic, Key: r.keys[i%benchKeys], Payload: r.payload}
}

func (r *race) record(i int) *kgo.Record {
	return &kgo.Record{Topic: r.topic, Key: r.keys[i%benchKeys], Value: r.payload}
}

func (r *race) troupeAsync(n int) error {
	var failed atomic.Pointer[error]
	done := func(_ brokers.Receipt, err error) {
		if err != nil {
			cause := err
			failed.Store(&cause)
		}
	}
	for i := range n {
		if err := r.troupe.PublishAsync(r.ctx, r.message(i), done); err != nil {
			return err
		}
	}
	if err := r.troupe.Flush(r.ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *race) franzAsync(n int) error {
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			cause := err
			failed.Store(&cause)
		}
	}
	for i := range n {
		r.franz.Produce(r.ctx, r.record(i), done)
	}
	if err := r.franz.Flush(r.ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// calls has benchCallers share n messages in calls of benchCall.
func calls(n int, call func(first int) error) error {
	var (
		callers sync.WaitGroup
		next    atomic.Int64
		failed  atomic.Pointer[error]
	)
	for range benchCallers {
		callers.Go(func() {
			for first := next.Add(benchCall); first <= int64(n); first = next.Add(benchCall) {
				if err := call(int(first) - benchCall); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	callers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *race) troupeCalls(n int) error {
	return calls(n, func(first int) error {
		msgs := make([]brokers.Message, benchCall)
		for i := range msgs {
			msgs[i] = r.message(first + i)
		}
		_, err := r.troupe.Publish(r.ctx, msgs...)
		return err
	})
}

func (r *race) franzCalls(n int) error {
	return calls(n, func(first int) error {
		records := make([]*kgo.Record, benchCall)
		for i := range records {
			records[i] = r.record(first + i)
		}
		return r.franz.ProduceSync(r.ctx, records...).FirstErr()
	})
}
