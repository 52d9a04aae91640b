package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// outcomes are what became of messages that were published asynchronously.
type outcomes struct {
	mu       sync.Mutex
	order    []int
	receipts map[int]brokers.Receipt
	errs     map[int]error
}

func newOutcomes() *outcomes {
	return &outcomes{receipts: map[int]brokers.Receipt{}, errs: map[int]error{}}
}

func (o *outcomes) callback(i int) func(brokers.Receipt, error) {
	return func(r brokers.Receipt, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.order = append(o.order, i)
		if err != nil {
			o.errs[i] = err
			return
		}
		o.receipts[i] = r
	}
}

// Connections are lost with answers on their way, again and again: what was
// published is stored once and in order all the same.
func TestCutsKeepOrder(t *testing.T) {
	t.Parallel()
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) {
		c.Dial, c.RetryMin, c.RetryMax = l.Dial, 2*time.Millisecond, 20*time.Millisecond
	})
	topic := newTopic(t, b, 3)
	p := publisher(t, b, brokers.PublisherConfig{})
	msgs := messages(topic, 6000, 30)
	o := newOutcomes()
	const each = 200
	for first := 0; first < len(msgs); first += each {
		let := l.HoldAnswers()
		for i := first; i < first+each; i++ {
			if err := p.PublishAsync(t.Context(), msgs[i], o.callback(i)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(10 * time.Millisecond) // requests reach the cluster, answers do not come back
		l.Cut()
		let()
		l.Mend()
		if err := p.Flush(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if len(o.errs) > 0 || len(o.receipts) != len(msgs) {
		t.Fatalf("%d receipts, errors %v; want %d receipts", len(o.receipts), o.errs, len(msgs))
	}
	last := map[string]int{}
	for _, r := range readAll(t, topic, len(msgs)) {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := last[string(r.Key)]; ok && n != before+30 || !ok && n >= 30 {
			t.Fatalf("key %s: %d after %d; a message is lost, repeated or out of order", r.Key, n, before)
		}
		last[string(r.Key)] = n
		if got := o.receipts[n]; got.Partition != r.Partition || got.Offset != r.Offset {
			t.Fatalf("message %d lies at %d/%d; its receipt says %+v", n, r.Partition, r.Offset, got)
		}
	}
}

// Scenario X04: what an error calls not sent never appears, and an outage takes
// no memory.
func TestOutage(t *testing.T) {
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) { c.Dial = l.Dial })
	topic := newTopic(t, b, 3)
	p := publisher(t, b, brokers.PublisherConfig{MaxBuffered: 1000})
	if _, err := p.Publish(within(t), messages(topic, 10, 10)...); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	heap := heapBytes()
	payload := bytes.Repeat([]byte("x"), 1000)
	const calls, parallel = 10_000, 500
	notSent := map[string]bool{}
	var (
		mu      sync.Mutex
		callers sync.WaitGroup
		next    = make(chan int)
	)
	for range parallel {
		callers.Go(func() {
			for i := range next {
				id := fmt.Sprint("outage-", i)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_, err := p.Publish(ctx, brokers.Message{Topic: topic, ID: id, Key: []byte(id), Payload: payload})
				cancel()
				var failed *brokers.PublishError
				if !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Publish in an outage: %v; want a PublishError by the deadline", err)
					continue
				}
				mu.Lock()
				notSent[id] = failed.Failures[0].Outcome == brokers.NotSent
				mu.Unlock()
			}
		})
	}
	for i := range calls {
		next <- i
	}
	close(next)
	callers.Wait()
	if grown := heapBytes() - heap; grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes in the outage", grown)
	}
	if h := b.Health(t.Context()); h.Connected || h.Err == nil {
		t.Errorf("Health in the outage: %+v", h)
	}
	l.Mend()
	receipts, err := p.Publish(within(t), brokers.Message{Topic: topic, Payload: []byte("end")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	_ = receipts
	for _, r := range readAll(t, topic, 11) {
		for _, h := range r.Headers {
			if h.Key != "troupe-id" {
				continue
			}
			id := string(h.Value)
			if notSent[id] || seen[id] {
				t.Errorf("message %s is there; not sent %v, repeated %v", id, notSent[id], seen[id])
			}
			seen[id] = true
		}
	}
}

func heapBytes() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Scenario B08: an oversized message fails alone, and what is too large only
// together is split.
func TestOversized(t *testing.T) {
	t.Parallel()
	for name, compression := range map[string]kafka.Compression{"None": kafka.CompressNone, "Zstd": kafka.CompressZstd} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, func(c *kafka.Config) {
				c.Compression = compression
				c.TopicConfigs = map[string]string{"max.message.bytes": "512"}
			})
			topic := newTopic(t, b, 1)
			p := publisher(t, b, brokers.PublisherConfig{})
			small := func(i int) brokers.Message {
				return brokers.Message{Topic: topic, Key: []byte("k"), Payload: fmt.Appendf(nil, "payload %04d", i)}
			}
			large := brokers.Message{Topic: topic, Key: []byte("k"), Payload: incompressible(600)}
			receipts, err := p.Publish(within(t), small(0), large, small(1))
			var failed *brokers.PublishError
			if !errors.As(err, &failed) || len(failed.Failures) != 1 || failed.Failures[0].Index != 1 || failed.Failures[0].Retryable() {
				t.Fatalf("Publish: %v; want a PublishError of index 1 only, which may not be retried", err)
			}
			if !errors.Is(err, brokers.ErrTooLarge) || receipts[0].Offset != 0 || receipts[2].Offset != 1 {
				t.Errorf("Publish: %v, receipts %+v; want ErrTooLarge, and offsets 0 and 1", err, receipts)
			}
			if _, err := p.Publish(within(t), small(2)); err != nil {
				t.Fatal(err)
			}
			o := newOutcomes()
			const n = 300 // together much more than 512 bytes
			for i := range n {
				m := small(3 + i)
				if i == 150 {
					m = large
				}
				if err := p.PublishAsync(within(t), m, o.callback(i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Close(within(t)); err != nil {
				t.Fatal(err)
			}
			if len(o.errs) != 1 || !errors.Is(o.errs[150], brokers.ErrTooLarge) || len(o.receipts) != n-1 {
				t.Errorf("%d receipts, errors %v; want one of message 150", len(o.receipts), o.errs)
			}
			for i, at := range o.order {
				if at != i {
					t.Fatalf("callback %d is of message %d", i, at)
				}
			}
			for i, r := range readAll(t, topic, 2+n) {
				want := i
				if i >= 153 {
					want++
				}
				if got := fmt.Sprintf("payload %04d", want); string(r.Value) != got {
					t.Fatalf("record %d is %q; want %q", i, r.Value, got)
				}
			}
		})
	}
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// 1,000 messages of 2 KB in one call are more than the topic takes at once.
func TestManyInOneCall(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *kafka.Config) {
		c.BatchBytes = 4 << 20
		c.TopicConfigs = map[string]string{"max.message.bytes": "1000000"}
	})
	topic := newTopic(t, b, 1)
	p := publisher(t, b, brokers.PublisherConfig{})
	msgs := messages(topic, 1000, 1)
	for i := range msgs {
		msgs[i].Payload = append(fmt.Appendf(nil, "%04d", i), incompressible(2000)...)
	}
	if _, err := p.Publish(within(t), msgs...); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	for i, r := range readAll(t, topic, 1000) {
		if string(r.Value[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("record %d is %q", i, r.Value[:4])
		}
	}
}

// A topic that goes away while it is published to is unknown, and none is made
// by publishing.
func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	topic := newTopic(t, b, 2)
	p := publisher(t, b, brokers.PublisherConfig{})
	if _, err := p.Publish(within(t), messages(topic, 10, 10)...); err != nil {
		t.Fatal(err)
	}
	deleteTopics(t, seeds(serverURL(t, "TEST_KAFKA_URL")), topic)
	// The cluster has agreed to the deletion; its leaders hear of it a little later.
	ctx := within(t)
	var err error
	for err == nil {
		_, err = p.Publish(ctx, messages(topic, 10, 10)...)
	}
	if !errors.Is(err, brokers.ErrUnknownTopic) {
		t.Fatalf("Publish to a topic that was deleted: %v; want ErrUnknownTopic", err)
	}
	if err := b.EnsureTopic(within(t), brokers.TopicConfig{Name: topic, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(within(t), messages(topic, 10, 10)...); err != nil {
		t.Fatalf("Publish to the topic made anew: %v", err)
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
}

// With Linger, messages wait for others, but neither Flush nor Close wait.
func TestLinger(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *kafka.Config) { c.Linger, c.BatchMessages = time.Hour, 10 })
	topic := newTopic(t, b, 1)
	p := publisher(t, b, brokers.PublisherConfig{})
	msgs := messages(topic, 25, 1)
	o := newOutcomes()
	if _, err := p.Publish(within(t), msgs[:10]...); err != nil { // full, so nothing waits
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Publish(ctx, msgs[10]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a message that lingers: %v; want its deadline", err)
	}
	for i := 11; i < 15; i++ {
		if err := p.PublishAsync(within(t), msgs[i], o.callback(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	if len(o.receipts) != 4 {
		t.Errorf("Flush returned with %d receipts of 4, errors %v", len(o.receipts), o.errs)
	}
	for i := 15; i < 25; i++ {
		if err := p.PublishAsync(within(t), msgs[i], o.callback(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if len(o.receipts) != 14 {
		t.Errorf("Close returned with %d receipts of 14, errors %v", len(o.receipts), o.errs)
	}
}
