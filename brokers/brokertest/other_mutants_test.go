package brokertest_test

import (
	"context"
	"errors"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var otherMutations = []mutation{
	{name: "takes any partition count", test: "Topic/EnsureMismatch", says: "gave no error", hooks: hooks{
		ensureTopic: func(m *mutant, cfg brokers.TopicConfig) error {
			if n := m.Server().Partitions(cfg.Name); n > 0 {
				cfg.Partitions = n
			}
			return m.Broker.EnsureTopic(context.Background(), cfg)
		},
	}},
	{name: "names no partition counts", test: "Topic/EnsureMismatch", says: "does not name both counts", hooks: hooks{
		ensureTopic: func(m *mutant, cfg brokers.TopicConfig) error {
			if m.Broker.EnsureTopic(context.Background(), cfg) != nil {
				return errors.New("failed")
			}
			return nil
		},
	}},
	{name: "changes its mind on what it can do", test: "Health/Identity", says: "a second connection", hooks: hooks{
		features: func(f *brokers.Features) { f.MaxUnacknowledged = time.Duration(time.Now().UnixNano()) },
	}},
	{name: "always says connected", test: "Health/Disconnected", says: "Health says disconnected", hooks: hooks{
		health: func(h *brokers.Health) { h.Connected, h.Err = true, nil },
	}},
	{name: "does not list partitions", test: "Health/States", says: "StateOwning", hooks: hooks{
		health: func(h *brokers.Health) {
			for i := range h.Subscriptions {
				h.Subscriptions[i].Partitions = nil
			}
		},
	}},
	{name: "leaks a goroutine", test: "Close/Goroutines", says: "goroutines run on after Close", hooks: hooks{
		accepted: func(*partition) { go func() { select {} }() },
	}},
	{name: "closes a partition once only", test: "Close/Partition", says: "Partition.Close: closed twice", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			if p.Partition.Context().Err() != nil {
				return errors.New("closed twice")
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "closes a partition and releases nothing", test: "Close/PartitionCancelled", says: "end of epoch", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "closes a membership without a drain", test: "Close/Subscription", says: "the epoch ended before its owner could drain", hooks: hooks{
		closeSub: func(_ context.Context, s *subscription) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Subscription.Close(ctx)
			return nil
		},
	}},
	{name: "waits for ever for a drain", test: "Close/SubscriptionCancelled", says: "Subscription.Close: did not return", hooks: hooks{
		closeSub: func(_ context.Context, s *subscription) error { return s.Subscription.Close(context.Background()) },
	}},
	{name: "accepts on after Close", test: "Close/Subscription", says: "Accept during Close: got error context deadline exceeded", hooks: hooks{
		accept: func(ctx context.Context, s *subscription) (brokers.Partition, error) {
			p, err := s.next(ctx)
			if errors.Is(err, brokers.ErrClosed) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return p, err
		},
	}},
	{name: "does not heed the context of Accept", test: "Accept/Cancelled", says: "Accept with an ended context: got error <nil>", hooks: hooks{
		accept: func(_ context.Context, s *subscription) (brokers.Partition, error) {
			return s.next(context.Background())
		},
	}},
	{name: "leaves memberships open", test: "Close/Broker", says: "Fetch during Broker.Close: got error context deadline exceeded", hooks: hooks{
		closeBroker: func(*mutant) error { return nil },
	}},
}
