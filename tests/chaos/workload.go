package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// workload publishes numbered messages of many keys and keeps what became of
// each.
type workload struct {
	topic     string
	keys      []string
	publisher *brokers.Publisher

	order sync.Mutex // held from the numbering of a message to its acceptance

	mu      sync.Mutex
	sent    map[string][]Outcome
	refused error
}

func newWorkload(publisher *brokers.Publisher, topic string) *workload {
	return &workload{topic: topic, publisher: publisher, keys: spreadKeys(), sent: map[string][]Outcome{}}
}

// spreadKeys are keys of which every partition has as many.
func spreadKeys() (keys []string) {
	count := map[int32]int{}
	for i := 0; len(keys) < Partitions*keysPerPartition; i++ {
		key := "k" + strconv.Itoa(i)
		if id := brokers.PartitionOf([]byte(key), Partitions); count[id] < keysPerPartition {
			count[id]++
			keys = append(keys, key)
		}
	}
	return keys
}

// run publishes, at a rate per second, until ctx ends.
func (w *workload) run(ctx context.Context, rate int) {
	const every = 20 * time.Millisecond
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	began, published := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); published < due; published++ {
			w.publish(w.keys[rand.IntN(len(w.keys))])
		}
	}
}

// publish sends the key's next message. Its outcome is unknown until the broker
// confirms it, for which it waits for ever.
func (w *workload) publish(key string) {
	w.order.Lock()
	defer w.order.Unlock()
	m, about := w.next(key)
	done := func(_ brokers.Receipt, err error) { w.settle(about, err) }
	if err := w.publisher.PublishAsync(context.Background(), m, done); err != nil {
		w.settle(about, err)
	}
}

// publishWithin sends the key's next message and gives up when ctx ends. One
// goroutine publishes a key in this way, and none in the other at the time.
func (w *workload) publishWithin(ctx context.Context, key string) {
	m, about := w.next(key)
	_, err := w.publisher.Publish(ctx, m)
	w.settle(about, err)
}

func (w *workload) next(key string) (brokers.Message, message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	about := message{key, len(w.sent[key])}
	w.sent[key] = append(w.sent[key], Unknown)
	text := strconv.Itoa(about.number)
	return brokers.Message{
		ID: key + "/" + text, Topic: w.topic, Key: []byte(key), Payload: []byte(text),
	}, about
}

// settle notes what became of a message.
func (w *workload) settle(m message, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[m.key][m.number] = outcomeOf(err)
	if failed := (*brokers.SendError)(nil); errors.As(err, &failed) && failed.Outcome == brokers.Refused {
		w.refused = errors.Join(w.refused, fmt.Errorf("publish %v: %w", m, err))
	}
}

// failure says what the broker or the publisher refused.
func (w *workload) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// outcomeOf is what the error of one message says.
func outcomeOf(err error) Outcome {
	failed := (*brokers.SendError)(nil)
	switch {
	case err == nil:
		return Confirmed
	case errors.As(err, &failed) && failed.Outcome != brokers.Unknown:
		return NotSent
	}
	return Unknown
}

// state is a copy of what is known.
func (w *workload) state() map[string][]Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := maps.Clone(w.sent)
	for key := range sent {
		sent[key] = slices.Clone(sent[key])
	}
	return sent
}

// notSent counts messages that were given up before they were sent.
func (w *workload) notSent() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, outcomes := range w.sent {
		for _, o := range outcomes {
			if o == NotSent {
				n++
			}
		}
	}
	return n
}

// unhandled counts confirmed messages that are not among the handled ones, but for
// those of some keys.
func (w *workload) unhandled(handled map[message]bool, except ...string) (missing int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, outcomes := range w.sent {
		for n, o := range outcomes {
			if o == Confirmed && !handled[message{key, n}] && !slices.Contains(except, key) {
				missing++
			}
		}
	}
	return missing
}

// message names a message.
type message struct {
	key    string
	number int
}

// parse reads which message of a workload m is.
func parse(m *brokers.Message) (message, error) {
	n, err := strconv.Atoi(string(m.Payload))
	if err != nil {
		return message{}, fmt.Errorf("offset %d of partition %d is no message of the workload: %w", m.Offset, m.Partition, err)
	}
	return message{string(m.Key), n}, nil
}
