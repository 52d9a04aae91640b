package brokertest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var ownershipMutations = []mutation{
	{name: "offers a partition whose old epoch is open", test: "Accept/AfterClose", says: "epoch", hooks: hooks{
		accepted: func(p *partition) {
			go func() {
				<-p.Partition.Context().Done()
				_ = p.Partition.Close(context.Background())
			}()
		},
	}},
	{name: "gives a partition over while its owner drains", test: "Revoking/Drains", says: "Accept: got partition", hooks: hooks{
		context: func(*partition) context.Context { return context.Background() },
		accepted: func(p *partition) {
			go func() {
				<-p.Partition.Revoking()
				_ = p.Partition.Close(context.Background())
			}()
		},
	}},
	{name: "ends an epoch that it wants back at once", test: "Revoking/Drains", says: "the epoch ended together with Revoking|Accept: got partition", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout = time.Nanosecond },
	}},
	{name: "forgets Revoking", test: "Revoking/Drains", says: "no partition was wanted back|taken away with no warning", hooks: hooks{
		revoking: func(*partition) <-chan struct{} { return nil },
	}},
	{name: "fetches on when it is to drain", test: "Revoking/WakesFetch", says: "a waiting Fetch: got error context deadline exceeded|Subscription.Close: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			for {
				got, err := p.Partition.Fetch(ctx, l)
				if !errors.Is(err, brokers.ErrRevoked) || p.Partition.Context().Err() != nil {
					return got, err
				}
				<-p.Partition.Context().Done()
			}
		},
	}},
	{name: "cuts DrainTimeout short", test: "Revoking/DrainTimeout", says: "want at least DrainTimeout", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout /= 4 },
	}},
	{name: "never ends an epoch that is not closed", test: "Revoking/DrainTimeout", says: "end of epoch", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout = time.Hour },
	}},
	{name: "uses an epoch's number again", test: "Accept/EpochsGrow", says: "want a greater one", hooks: hooks{
		number:   func(*partition) uint64 { return 7 },
		received: func(m *brokers.Message) { m.Epoch = 7 },
	}},
	{name: "stamps messages with another epoch", test: "Message/Receipt", says: "came from partition", hooks: hooks{
		received: func(m *brokers.Message) { m.Epoch++ },
	}},
	{name: "gives no cause", test: "Close/Partition", says: "cause of Partition.Context", hooks: hooks{
		context: func(p *partition) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			context.AfterFunc(p.Partition.Context(), cancel)
			return ctx
		},
	}},
	{name: "keeps epochs alive over a lost connection", test: "Accept/AfterReconnect", says: "end of epoch", hooks: hooks{
		context: func(*partition) context.Context { return context.Background() },
	}},
	{name: "owns without exclusion", test: "Balance/Stopped", says: "had not closed it", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Group += cfg.Member },
	}},
	{name: "lets one member keep everything", test: "Balance/Stopped", says: "not within one of even", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) {
			if members := m.Server().Members(cfg.Group); len(members) > 0 {
				cfg.Topics = []string{"elsewhere"}
			}
		},
	}},
	{name: "repeats what was acknowledged at a hand-over", test: "Balance/Stopped", says: "were handled again", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo - 1}) },
	}},
	{name: "does not notice the dead", test: "Balance/Killed", says: "messages of each partition are handled: not within", hooks: hooks{
		disconnect: func(*mutant) {},
	}},
	{name: "skips what its dead predecessor was handling", test: "Balance/KilledAtWork", says: "came when", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if p.calls++; p.calls == 1 && len(got) > 0 && got[0].Offset > 0 {
				got = got[1:]
			}
			return got, err
		},
	}},
	{name: "handles what the owner gave up once more", test: "Balance/StoppedAtWork", says: "were handled again", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo - 1}) },
	}},
	{name: "lives as long as the context of Subscribe", test: "Subscribe/ContextEnds", says: "brokers: closed", hooks: hooks{
		subscribed: func(ctx context.Context, s *subscription) { s.joined = ctx },
		accept: func(ctx context.Context, s *subscription) (brokers.Partition, error) {
			if s.joined.Err() != nil {
				return nil, brokers.ErrClosed
			}
			return s.next(ctx)
		},
	}},
	{name: "misses a topic that is made later", test: "Topic/MadeLater", says: "Accept: context deadline exceeded", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) {
			if m.Server().Partitions(cfg.Topics[0]) == 0 {
				cfg.Topics = []string{cfg.Topics[0] + "-"}
			}
		},
	}},
	{name: "starts at the oldest whatever is asked", test: "Subscribe/StartLatest", says: "published before the group came", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Start = brokers.StartEarliest },
	}},
	{name: "starts at the newest whatever is asked", test: "Subscribe/StartEarliest", says: "Fetch: context deadline exceeded", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Start = brokers.StartLatest },
	}},
	{name: "begins at no time", test: "Subscribe/StartAtTime", says: "want", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) {
			cfg.Start, cfg.StartTime = brokers.StartEarliest, time.Time{}
		},
	}},
	{name: "gives competing members copies", test: "Competing/Shares", says: "want once", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) { cfg.Group += fmt.Sprintf("%p", m) },
	}},
	{name: "keeps what a competing member gives back", test: "Competing/GivesBack", says: "Fetch: context deadline exceeded", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			_ = p.Partition.Ack(brokers.Ack{UpTo: 100})
			return p.Partition.Close(ctx)
		},
	}},
}
