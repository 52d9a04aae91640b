package brokertest_test

import (
	"context"
	"errors"
	"slices"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

var ackMutations = []mutation{
	{name: "acknowledges past a gap", test: "Ack/GapHolds", says: "Fetch: context deadline exceeded", cfg: memory.Config{CumulativeOnly: true}, hooks: hooks{
		ack: ackPastGap,
	}},
	{name: "acknowledges past a gap that it could leave", test: "Ack/AboveGap", says: "after 1 of 4 messages", hooks: hooks{
		ack: ackPastGap,
	}},
	{name: "forgets what is settled above a gap", test: "Ack/AboveGap", says: "want numbers 2, 4, 5, 7", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo}) },
	}},
	{name: "says yes to an ended epoch", test: "Ack/AfterClose", says: "Ack of an ended epoch: got error <nil>", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			if err := p.Partition.Ack(a); !errors.Is(err, brokers.ErrRevoked) {
				return err
			}
			return nil
		},
	}},
	{name: "lets an ended epoch acknowledge", test: "Ack/AfterClose", says: "Fetch: context deadline exceeded", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			_ = p.current().Partition.Ack(a)
			return p.Partition.Ack(a)
		},
	}},
	{name: "lets an epoch acknowledge after a reconnect", test: "Ack/AfterDisconnect", says: "got error <nil>", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			_ = p.Partition.Ack(a)
			return nil
		},
	}},
	{name: "loses the acknowledgements before Close", test: "Ack/Prefix", says: "want numbers 4 to 9", hooks: hooks{
		ack: func(*partition, brokers.Ack) error { return nil },
	}},
	{name: "sends acknowledgements at Close only", test: "Ack/WithinInterval", says: "want numbers 2 to 3", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			p.last = a
			return nil
		},
		closeOf: func(ctx context.Context, p *partition) error {
			_ = p.Partition.Ack(p.last)
			return p.Partition.Close(ctx)
		},
	}},
	{name: "acknowledges what it prefetched", test: "Ack/FetchedOnly", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if len(p.kept) == 0 {
				got, err := p.Partition.Fetch(ctx, brokers.FetchLimit{Messages: 100})
				if err != nil {
					return nil, err
				}
				p.kept = got
			}
			n := min(l.Messages, len(p.kept))
			got := p.kept[:n:n]
			p.kept = p.kept[n:]
			return got, nil
		},
		closeOf: func(ctx context.Context, p *partition) error {
			if len(p.kept) > 0 {
				_ = p.Partition.Ack(brokers.Ack{UpTo: p.kept[len(p.kept)-1].Offset})
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "does not count deliveries", test: "Ack/DeliveryCount", says: "has DeliveryCount 1", cfg: memory.Config{CountDeliveries: true}, hooks: hooks{
		received: func(m *brokers.Message) { m.DeliveryCount = 1 },
	}},
	{name: "counts deliveries and does not say so", test: "Ack/DeliveryNotCounted", says: "want 0", hooks: hooks{
		received: func(m *brokers.Message) { m.DeliveryCount = 1 },
	}},
}

func ackPastGap(p *partition, a brokers.Ack) error {
	return p.Partition.Ack(brokers.Ack{UpTo: slices.Max(append(a.Above, a.UpTo))})
}
