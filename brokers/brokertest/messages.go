package brokertest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-go/troupe/brokers"
)

// numbered makes messages from..to-1 of a key for a partition; the payload is
// "key/number".
func numbered(topic string, partition int32, key string, from, to int) []brokers.Message {
	var msgs []brokers.Message
	for n := from; n < to; n++ {
		msgs = append(msgs, brokers.Message{
			Topic: topic, Partition: partition, Key: []byte(key),
			Payload: fmt.Appendf(nil, "%s/%d", key, n),
		})
	}
	return msgs
}

// number is the number in the payload of a numbered message, -1 if there is none.
func number(m *brokers.Message) int {
	_, digits, _ := strings.Cut(string(m.Payload), "/")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// texts shows payloads in a failure.
func texts(msgs []brokers.Message) string {
	var out []string
	for i := range msgs {
		if len(out) == 20 {
			out = append(out, fmt.Sprintf("and %d more", len(msgs)-i))
			break
		}
		out = append(out, fmt.Sprintf("%.40q", msgs[i].Payload))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// wantNumbers ends the test unless the messages are just those, in that order.
func (e *env) wantNumbers(got []brokers.Message, from, to int) {
	e.Helper()
	right := len(got) == to-from
	for i := range got {
		right = right && number(&got[i]) == from+i
	}
	if !right {
		e.Fatalf("got messages %s; want numbers %d to %d in order", texts(got), from, to-1)
	}
	e.wantGrowing(got)
}

// wantGrowing ends the test unless offsets grow.
func (e *env) wantGrowing(got []brokers.Message) {
	e.Helper()
	for i := 1; i < len(got); i++ {
		if got[i].Offset <= got[i-1].Offset {
			e.Fatalf("offset %d follows %d; want offsets that grow", got[i].Offset, got[i-1].Offset)
		}
	}
}

// publisher opens a publisher that sends each message to its own Partition.
func (e *env) publisher(b brokers.Broker, cfg brokers.PublisherConfig) *brokers.Publisher {
	e.Helper()
	if cfg.Partitioner == nil {
		cfg.Partitioner = brokers.Explicit()
	}
	p, err := b.Publisher(cfg)
	e.ok(err, "Broker.Publisher")
	e.Cleanup(func() {
		// Its result depends on what the test left unconfirmed.
		_ = e.returns("Publisher.Close", func() error { return p.Close(ended()) })
	})
	return p
}

// publish stores messages and returns their receipts.
func (e *env) publish(msgs ...brokers.Message) []brokers.Receipt {
	e.Helper()
	receipts, err := e.publisher(e.broker, brokers.PublisherConfig{}).Publish(e.within(), msgs...)
	e.ok(err, "Publish")
	if len(receipts) != len(msgs) {
		e.Fatalf("Publish: %d receipts for %d messages", len(receipts), len(msgs))
	}
	return receipts
}

// publishBefore publishes what was there before any group was. A broker that
// stores per group refuses it.
func (e *env) publishBefore(msgs ...brokers.Message) {
	e.Helper()
	_, err := e.publisher(e.broker, brokers.PublisherConfig{}).Publish(e.within(), msgs...)
	if !errors.Is(err, brokers.ErrUnroutable) {
		e.ok(err, "Publish")
	}
}
