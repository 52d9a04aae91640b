package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var fetchMutations = []mutation{
	{name: "loses a message", test: "Fetch/Once", says: "after 19 of 20 messages", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 5 {
				got = slices.Delete(got, 3, 4)
			}
			return got, err
		},
	}},
	{name: "loses what a cancelled Fetch had", test: "Fetch/Cancelled", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if ctx.Done() != nil && p.calls%4 == 3 && len(got) == 1 {
				got, err = nil, context.DeadlineExceeded
			}
			p.calls++
			return got, err
		},
	}},
	{name: "duplicates a message", test: "Fetch/Once", says: "want nothing until the deadline", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if len(p.kept) > 0 {
				again := p.kept
				p.kept = nil
				return again, nil
			}
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 0 && p.calls == 0 {
				p.kept = []brokers.Message{got[len(got)-1].Clone()}
				p.calls++
			}
			return got, err
		},
	}},
	{name: "reorders messages", test: "Fetch/Once", says: "want numbers 0 to 19", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 2 {
				got[1], got[2] = got[2], got[1]
			}
			return got, err
		},
	}},
	{name: "ignores the limit of messages", test: "Fetch/LimitMessages", says: "want 1 to 7", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			l.Messages++
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "ignores the limit of bytes", test: "Fetch/LimitBytes", says: "want at most 400 bytes", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			l.Bytes = 0
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "never returns what is over the limit of bytes", test: "Fetch/Large", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if l.Bytes == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "returns nothing rather than wait", test: "Fetch/Waits", says: "want nothing until the deadline", hooks: hooks{
		fetch: func(_ context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			got, err := p.Partition.Fetch(ctx, l)
			if errors.Is(err, context.DeadlineExceeded) {
				err = nil
			}
			return got, err
		},
	}},
	{name: "does not heed the context of Fetch", test: "Fetch/Waits", says: "Fetch: did not return", hooks: hooks{
		fetch: func(_ context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			return p.Partition.Fetch(context.Background(), l)
		},
	}},
	{name: "keeps what it handed out", test: "Fetch/Owned", says: "payload: got \"!!!\"", hooks: hooks{
		fetch: func() func(context.Context, *partition, brokers.FetchLimit) ([]brokers.Message, error) {
			handedOut := map[int64]brokers.Message{}
			return func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
				got, err := p.Partition.Fetch(ctx, l)
				for i, m := range got {
					if old, ok := handedOut[m.Offset]; ok {
						got[i].Payload, got[i].Headers = old.Payload, old.Headers
					}
					handedOut[m.Offset] = got[i]
				}
				return got, err
			}
		}(),
	}},
	{name: "has less room than MaxUnsettled", test: "Fetch/Unsettled", says: "after 10 of 20 messages", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.MaxUnsettled /= 2 },
	}},
	{name: "gives no room back for a single acknowledgement", test: "Fetch/UnsettledAbove", says: "Fetch: context deadline exceeded", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo})
		},
	}},
	{name: "takes a paused partition away", test: "Fetch/PauseOne", says: "was taken away from an owner that paused", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if p.calls++; p.calls == 5 {
				for at, other := range p.mutant.latest {
					if at.topic == p.Topic() && other.calls == 0 {
						_ = other.Partition.Close(ctx)
					}
				}
			}
			return p.Partition.Fetch(ctx, l)
		},
	}},
}
