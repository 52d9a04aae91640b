package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
)

// patience bounds the wait for anything that must happen.
const patience = 30 * time.Second

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func name(kind string) string { return kind + "-" + uuid.NewString()[:13] }

func open(tb testing.TB, ls *lines) brokers.Broker {
	tb.Helper()
	b, err := ls.open(within(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}

func makeTopic(tb testing.TB, b brokers.Broker, partitions int) string {
	tb.Helper()
	topic := name("topic")
	if err := b.EnsureTopic(within(tb), brokers.TopicConfig{Name: topic, Partitions: partitions}); err != nil {
		tb.Fatal(err)
	}
	return topic
}

func publish(tb testing.TB, b brokers.Broker, msgs ...brokers.Message) []brokers.Receipt {
	tb.Helper()
	p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	if err != nil {
		tb.Fatal(err)
	}
	receipts, err := p.Publish(within(tb), msgs...)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Close(within(tb)); err != nil {
		tb.Fatal(err)
	}
	return receipts
}

// numbered are messages from..to-1 of a key, whose payloads are "key/number".
func numbered(topic string, partition int32, key string, from, to int) []brokers.Message {
	var msgs []brokers.Message
	for n := from; n < to; n++ {
		msgs = append(msgs, brokers.Message{
			Topic: topic, Partition: partition, Key: []byte(key), Payload: fmt.Appendf(nil, "%s/%d", key, n),
		})
	}
	return msgs
}

func number(m *brokers.Message) int {
	_, digits, _ := strings.Cut(string(m.Payload), "/")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

func texts(msgs []brokers.Message) string {
	var out []string
	for i := range msgs {
		out = append(out, string(msgs[i].Payload))
	}
	return strings.Join(out, " ")
}

func subscribe(tb testing.TB, b brokers.Broker, group string, topics ...string) brokers.Subscription {
	tb.Helper()
	return subscribeAs(tb, b, brokers.SubscriptionConfig{Group: group, Topics: topics})
}

func subscribeAs(tb testing.TB, b brokers.Broker, cfg brokers.SubscriptionConfig) brokers.Subscription {
	tb.Helper()
	s, err := b.Subscribe(within(tb), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func accept(tb testing.TB, s brokers.Subscription) brokers.Partition {
	tb.Helper()
	p, err := s.Accept(within(tb))
	if err != nil {
		tb.Fatalf("Accept: %v", err)
	}
	return p
}

func fetch(tb testing.TB, p brokers.Partition, n int) []brokers.Message {
	tb.Helper()
	var got []brokers.Message
	for ctx := within(tb); len(got) < n; {
		batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: n - len(got)})
		if err != nil {
			tb.Fatalf("Fetch: %v, after %s", err, texts(got))
		}
		got = append(got, batch...)
	}
	return got
}

// wantNumbers ends the test unless the messages are from..to-1, in order.
func wantNumbers(tb testing.TB, got []brokers.Message, from, to int) {
	tb.Helper()
	right := len(got) == to-from
	for i := range got {
		right = right && number(&got[i]) == from+i
	}
	if !right {
		tb.Fatalf("got %s; want %d to %d in order", texts(got), from, to-1)
	}
}

// eventually asks until is says true.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	ctx := within(tb)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !is() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			tb.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// reader reads a subscription until it is stopped: it acknowledges each message
// it handles, and checks that those of a key come in order, over all epochs.
type reader struct {
	sub     brokers.Subscription
	running sync.WaitGroup

	mu      sync.Mutex
	highest map[string]int
	count   map[string]int // by payload
	epochs  int
	faults  []string
}

func read(tb testing.TB, s brokers.Subscription) *reader {
	tb.Helper()
	r := &reader{sub: s, highest: map[string]int{}, count: map[string]int{}}
	r.running.Go(r.accept)
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx)
		r.running.Wait()
	})
	return r
}

func (r *reader) accept() {
	for {
		p, err := r.sub.Accept(context.Background())
		if err != nil {
			if !errors.Is(err, brokers.ErrClosed) {
				r.fault("Accept: %v", err)
			}
			return
		}
		r.mu.Lock()
		r.epochs++
		r.mu.Unlock()
		r.running.Go(func() { r.own(p) })
	}
}

func (r *reader) own(p brokers.Partition) {
	last := map[string]int{}
	for {
		batch, err := p.Fetch(context.Background(), brokers.FetchLimit{Messages: 32})
		if err != nil {
			break
		}
		for i := range batch {
			r.handle(last, &batch[i])
		}
		_ = p.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset}) // the epoch may have ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.Close(ctx) // the same
}

func (r *reader) handle(last map[string]int, m *brokers.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, n := string(m.Key), number(m)
	if before, ok := last[key]; ok && n <= before {
		r.faultLocked("key %s: %d after %d in one epoch", key, n, before)
	}
	highest, ok := r.highest[key]
	if !ok {
		highest = -1
	}
	if n > highest+1 {
		r.faultLocked("key %s: %d came when %d was due", key, n, highest+1)
	}
	last[key] = n
	r.highest[key] = max(highest, n)
	r.count[string(m.Payload)]++
}

func (r *reader) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faultLocked(format, args...)
}

func (r *reader) faultLocked(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// await waits until all keys were handled up to and with number n.
func (r *reader) await(tb testing.TB, n int, keys ...string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("all keys are handled up to %d", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, key := range keys {
			if highest, ok := r.highest[key]; !ok || highest < n {
				return false
			}
		}
		return true
	})
	r.audit(tb)
}

func (r *reader) audit(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) > 0 {
		tb.Fatalf("%d faults, the first: %s", len(r.faults), strings.Join(r.faults[:min(3, len(r.faults))], "; "))
	}
}

// repeats counts messages that were handled more than once.
func (r *reader) repeats() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, times := range r.count {
		if times > 1 {
			n++
		}
	}
	return n
}
