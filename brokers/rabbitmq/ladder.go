package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// RetriesHeader is where a [Ladder] counts how often a message went over it.
const RetriesHeader = "x-retries"

// Where a message was published that went over a [Ladder], as Spring has it.
const (
	originalExchange = "x-original-exchange"
	originalKey      = "x-original-routingKey"
)

// ErrLadderEnds says that a message has been tried again as often as its [Ladder]
// has steps. Dead-letter it.
var ErrLadderEnds = errors.New("rabbitmq: the ladder has no further step")

// Ladder has messages of one queue tried again later: each step is a queue in
// which they lie for its time, after which the server moves them back to the end
// of the first queue. So nothing waits in this process, and a message that waits
// takes no room in a prefetch; but it has lost its place, so that a ladder is for
// competing consumers, and never for what is read in order.
//
// A handler that fails calls Retry and, if that returns nil, returns nil itself:
// the message is then the ladder's, and its delivery is settled. If the process
// dies between the two it comes twice.
type Ladder struct {
	queue     string
	steps     []time.Duration
	publisher *brokers.Publisher
}

// OpenLadder makes the queues of a ladder, "QUEUE.retry.MILLISECONDS", where they
// are missing: quorum queues that keep a message until the first queue has it.
// Steps are at least a millisecond each; the first one is for the first retry. An
// error is one of [Broker.ApplyTopology].
func (b *Broker) OpenLadder(ctx context.Context, queue string, steps ...time.Duration) (*Ladder, error) {
	if queue == "" || len(steps) == 0 || slices.Min(steps) < time.Millisecond {
		return nil, fmt.Errorf("%w: OpenLadder: queue %q, steps %v; want a queue, and steps of at least 1 ms", brokers.ErrInvalid, queue, steps)
	}
	l := &Ladder{queue: queue, steps: slices.Clone(steps)}
	var rungs Topology
	for _, step := range slices.Compact(slices.Sorted(slices.Values(steps))) {
		rungs.Queues = append(rungs.Queues, QueueConfig{
			Name: l.rung(step), MessageTTL: step, Overflow: OverflowReject,
			DeadLetter: DeadLetter{Exchange: DefaultExchange, RoutingKey: queue, AtLeastOnce: true},
		})
	}
	if _, err := b.ApplyTopology(ctx, rungs, TopologyDeclare); err != nil {
		return nil, err
	}
	var err error
	l.publisher, err = b.Publisher(brokers.PublisherConfig{Order: brokers.OrderNone})
	return l, err
}

// rung is the queue of a step.
func (l *Ladder) rung(step time.Duration) string {
	return l.queue + ".retry." + strconv.FormatInt(milliseconds(step), 10)
}

// Retry has a message delivered again after the next step, and returns when the
// server has stored it for that. Its key, payload and headers stay; RetriesHeader
// counts, and where it was published at first is in x-original-exchange and
// x-original-routingKey. [ErrLadderEnds] says that there is no further step; any
// other error is Publish's, and the message is not, or may not be, on the ladder.
// Retry may be called concurrently.
func (l *Ladder) Retry(ctx context.Context, m *brokers.Message) error {
	retries, err := strconv.Atoi(m.Headers.Text(RetriesHeader))
	if err != nil || retries < 0 {
		retries = 0 // it has not been here
	}
	if retries >= len(l.steps) {
		return fmt.Errorf("%w: queue %q, after %d retries", ErrLadderEnds, l.queue, retries)
	}
	again := m.Clone()
	again.Headers = slices.DeleteFunc(again.Headers, func(h brokers.Header) bool { return h.Key == RetriesHeader })
	if facts, is := m.Broker.(*Delivery); is && retries == 0 {
		again.Headers = append(again.Headers,
			brokers.Header{Key: originalExchange, Value: []byte(facts.Exchange), Kind: brokers.KindString},
			brokers.Header{Key: originalKey, Value: []byte(facts.RoutingKey), Kind: brokers.KindString})
	}
	again.Headers = append(again.Headers,
		brokers.Header{Key: RetriesHeader, Value: strconv.AppendInt(nil, int64(retries+1), 10), Kind: brokers.KindInt})
	again.Topic, again.RoutingKey = DefaultExchange, l.rung(l.steps[retries])
	again.TTL = 0 // the step's is the queue's
	_, err = l.publisher.Publish(ctx, again)
	return err
}

// Close waits until all that Retry was given is confirmed or has failed, or ctx
// ends. The queues stay.
func (l *Ladder) Close(ctx context.Context) error { return l.publisher.Close(ctx) }
