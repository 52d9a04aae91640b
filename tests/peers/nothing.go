package main

import (
	"context"
	"sync/atomic"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// nowhere is a broker that confirms at once what is published, and keeps nothing.
type nowhere struct {
	*memory.Broker
	published func(*brokers.Message)
}

func newNowhere(published func(*brokers.Message)) nowhere {
	return nowhere{memory.New(memory.Config{}), published}
}

// Publisher implements brokers.Broker.
func (b nowhere) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	return brokers.NewPublisher(&nowhereSender{published: b.published}, b.Features(), cfg)
}

type nowhereSender struct {
	published func(*brokers.Message)
	offset    atomic.Int64
}

// Partitions implements brokers.Sender.
func (*nowhereSender) Partitions(context.Context, string) (int, error) { return 12, nil }

// Send implements brokers.Sender.
func (s *nowhereSender) Send(_ context.Context, batch []*brokers.Outbound) {
	for _, out := range batch {
		s.published(out.Message)
		out.Done(brokers.Receipt{Partition: out.Partition, Offset: s.offset.Add(1)}, nil)
	}
}

// Flush implements brokers.Sender.
func (*nowhereSender) Flush() {}

// Close implements brokers.Sender.
func (*nowhereSender) Close() error { return nil }
