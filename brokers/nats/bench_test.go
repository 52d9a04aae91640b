package nats_test

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// The benchmarks run the driver and the bare client in one process, in turns,
// and report medians. Run them with -benchtime=1x. Without TEST_NATS_URL the
// server is in the process as well, and its work counts.
const (
	benchRounds   = 9
	benchMessages = 40_000
	benchKeys     = 10_000
	benchWindow   = 4000
)

// contender does benchMessages of the same work. It is compared with its base.
type contender struct {
	name    string
	base    string
	prepare func() (run func() error, err error)
}

// sample is what one message cost.
type sample struct{ rate, cpu, allocs float64 }

func measure(c contender) (sample, error) {
	var before, after runtime.MemStats
	run, err := c.prepare()
	if err != nil {
		return sample{}, err
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	began, used := time.Now(), cpuTime()
	err = run()
	took, spent := time.Since(began), cpuTime()-used
	runtime.ReadMemStats(&after)
	return sample{
		rate:   benchMessages / took.Seconds(),
		cpu:    float64(spent.Nanoseconds()) / 1000 / benchMessages,
		allocs: float64(after.Mallocs-before.Mallocs) / benchMessages,
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
// rate and CPU time as parts of its base's.
func compete(b *testing.B, contenders []contender) {
	b.Helper()
	samples := map[string][]sample{}
	for round := range benchRounds {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			s, err := measure(c)
			if err != nil {
				b.Fatalf("%s: %v", c.name, err)
			}
			samples[c.name] = append(samples[c.name], s)
		}
	}
	for _, c := range contenders {
		m := medians(samples[c.name])
		b.ReportMetric(m.rate, c.name+"/s")
		b.ReportMetric(m.cpu, c.name+"-us/op")
		b.ReportMetric(m.allocs, c.name+"-allocs/op")
		if c.base != "" {
			base := medians(samples[c.base])
			b.ReportMetric(m.rate/base.rate, c.name+"-rate-of-"+c.base)
			b.ReportMetric(m.cpu/base.cpu, c.name+"-cpu-of-"+c.base)
		}
	}
}

func medians(samples []sample) sample {
	median := func(of func(sample) float64) float64 {
		values := make([]float64, 0, len(samples))
		for _, s := range samples {
			values = append(values, of(s))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return sample{
		rate:   median(func(s sample) float64 { return s.rate }),
		cpu:    median(func(s sample) float64 { return s.cpu }),
		allocs: median(func(s sample) float64 { return s.allocs }),
	}
}

// benchLines are lines to the real server, or to one in this process.
func benchLines(b *testing.B) *lines {
	if url := os.Getenv("TEST_NATS_URL"); url != "" {
		return serverLines(strings.TrimPrefix(url, "nats://"))
	}
	return embeddedLines(startEmbedded(b))
}

// bare is a client of its own.
func bare(b *testing.B, ls *lines) jetstream.JetStream {
	b.Helper()
	nc, err := client.Connect("", ls.options(&line{dial: ls.dial})...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(benchWindow))
	if err != nil {
		b.Fatal(err)
	}
	return js
}

// dropTopic frees the server's disk.
func dropTopic(b *testing.B, js jetstream.JetStream, topic string) {
	b.Helper()
	b.Cleanup(func() {
		if err := js.DeleteStream(context.Background(), topic); err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	ls := benchLines(b)
	js, broker := bare(b, ls), open(b, ls)
	topic := makeTopic(b, broker, 12)
	dropTopic(b, js, topic)
	body := make([]byte, 1024)
	ids := 0
	for b.Loop() {
		compete(b, []contender{
			{"bare", "", ready(func() error { return publishBare(js, topic, body, &ids) })},
			{"unordered", "bare", ready(func() error { return publishDriver(broker, topic, body, brokers.OrderNone) })},
			{"per-key", "bare", ready(func() error { return publishDriver(broker, topic, body, brokers.OrderPerKey) })},
		})
	}
}

// ready needs no preparation.
func ready(run func() error) func() (func() error, error) {
	return func() (func() error, error) { return run, nil }
}

// publishBare publishes as users of the client do, with an id and a key.
func publishBare(js jetstream.JetStream, topic string, body []byte, ids *int) error {
	for n := range benchMessages {
		*ids++
		m := &client.Msg{
			Subject: topic + ".p." + strconv.Itoa(n%12), Data: body,
			Header: client.Header{
				jetstream.MsgIDHeader: {"bench-of-the-bare-client-" + strconv.Itoa(*ids)},
				"key":                 {"key-" + strconv.Itoa(n%benchKeys)},
			},
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	<-js.PublishAsyncComplete()
	return nil
}

func publishDriver(broker brokers.Broker, topic string, body []byte, order brokers.Order) error {
	p, err := broker.Publisher(brokers.PublisherConfig{Order: order, MaxInFlight: benchWindow})
	if err != nil {
		return err
	}
	var failed error
	done := func(_ brokers.Receipt, err error) {
		if err != nil {
			failed = err
		}
	}
	ctx := context.Background()
	for n := range benchMessages {
		m := brokers.Message{Topic: topic, Key: []byte("key-" + strconv.Itoa(n%benchKeys)), Payload: body}
		if err := p.PublishAsync(ctx, m, done); err != nil {
			return err
		}
	}
	if err := p.Close(ctx); err != nil {
		return err
	}
	return failed
}

func BenchmarkConsume(b *testing.B) {
	ls := benchLines(b)
	js, broker := bare(b, ls), open(b, ls)
	ls.change = modes["Prefix"]
	prefixes := open(b, ls)
	topic := makeTopic(b, broker, 1)
	dropTopic(b, js, topic)
	if err := publishDriver(broker, topic, make([]byte, 1024), brokers.OrderNone); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		compete(b, []contender{
			{"bare", "", func() (func() error, error) { return consumeBare(js, topic, jetstream.AckExplicitPolicy, false) }},
			{"bare-pinned", "bare", func() (func() error, error) { return consumeBare(js, topic, jetstream.AckExplicitPolicy, true) }},
			{"each", "bare-pinned", func() (func() error, error) { return consumeDriver(b, broker, topic) }},
			{"bare-ackall", "bare", func() (func() error, error) { return consumeBare(js, topic, jetstream.AckAllPolicy, false) }},
			{"bare-ackall-pinned", "bare-ackall", func() (func() error, error) { return consumeBare(js, topic, jetstream.AckAllPolicy, true) }},
			{"prefix", "bare-ackall-pinned", func() (func() error, error) { return consumeDriver(b, prefixes, topic) }},
		})
	}
}

// consumeBare reads as users of the client do, and acknowledges each message,
// or each hundredth for all before it. Without a pin a consumer has no owner, and
// the server does not add a header to each message.
func consumeBare(js jetstream.JetStream, topic string, policy jetstream.AckPolicy, pinned bool) (func() error, error) {
	cfg := jetstream.ConsumerConfig{
		Durable: name("bare"), AckPolicy: policy, MaxAckPending: 2048, FilterSubject: topic + ".p.0",
	}
	options := []jetstream.PullMessagesOpt{jetstream.PullMaxMessages(500)}
	if pinned {
		cfg.PriorityPolicy, cfg.PriorityGroups = jetstream.PriorityPolicyPinned, []string{"g"}
		options = append(options, jetstream.PullPriorityGroup("g"))
	}
	c, err := js.CreateConsumer(context.Background(), topic, cfg)
	if err != nil {
		return nil, err
	}
	return func() error {
		messages, err := c.Messages(options...)
		if err != nil {
			return err
		}
		defer messages.Stop()
		for n := 1; n <= benchMessages; n++ {
			m, err := messages.Next()
			if err != nil {
				return err
			}
			if policy == jetstream.AckExplicitPolicy || n%100 == 0 || n == benchMessages {
				if err := m.Ack(); err != nil {
					return err
				}
			}
		}
		return js.Conn().Flush()
	}, nil
}

func consumeDriver(b *testing.B, broker brokers.Broker, topic string) (func() error, error) {
	ctx := context.Background()
	s, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: name("driver"), Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	b.Cleanup(func() { _ = s.Close(ctx) }) // it has given back what it had
	p, err := s.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return func() error {
		for got := 0; got < benchMessages; {
			batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 500})
			if err != nil {
				return err
			}
			got += len(batch)
			if err := p.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset}); err != nil {
				return err
			}
		}
		return p.Close(ctx)
	}, nil
}
