package brokertest_test

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/brokers"
)

var stageMutations = []mutation{
	{name: "publishes what is staged at once", test: "Stage/Discarded", says: "want nothing until the deadline|want numbers 0 to 1", hooks: hooks{
		stage: func(p *partition, _ int64, messages []brokers.Message) error { return p.publishNow(messages) },
	}},
	{name: "publishes what is staged in the order of the calls", test: "Stage/InOrder", says: "the outputs are", hooks: hooks{
		stage: func(p *partition, _ int64, messages []brokers.Message) error { return p.publishNow(messages) },
	}},
	{name: "loses what is staged", test: "Stage/OverEpochs", says: "context deadline exceeded, after 0 of 6", hooks: hooks{
		stage: func(*partition, int64, []brokers.Message) error { return nil },
	}},
	{name: "keeps the first call for an offset only", test: "Stage/InOrder", says: "context deadline exceeded, after 5 of 6", hooks: hooks{
		stage: func(p *partition, offset int64, messages []brokers.Message) error {
			if p.calls++; p.calls == 5 {
				return nil
			}
			return p.stager().Stage(offset, messages...)
		},
	}},
	{name: "commits what is settled above a gap", test: "Stage/Discarded", says: "after 1 of 3|want numbers 2 to 4", hooks: hooks{ack: ackPastGap}},
	{name: "commits at Close only", test: "Stage/Commits", says: "context deadline exceeded", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			p.last = a
			return nil
		},
		closeOf: func(ctx context.Context, p *partition) error {
			_ = p.Partition.Ack(p.last)
			return p.Partition.Close(ctx)
		},
	}},
	{name: "stages for an ended epoch", test: "Stage/AfterEnd", says: "got error <nil>", hooks: hooks{
		stage: func(p *partition, offset int64, messages []brokers.Message) error {
			if err := p.stager().Stage(offset, messages...); !errors.Is(err, brokers.ErrRevoked) {
				return err
			}
			return nil
		},
	}},
	{name: "stages for what was acknowledged", test: "Stage/Acknowledged", says: "got error <nil>", hooks: hooks{
		stage: func(p *partition, offset int64, messages []brokers.Message) error {
			if err := p.stager().Stage(offset, messages...); !errors.Is(err, brokers.ErrInvalid) {
				return err
			}
			return nil
		},
	}},
	{name: "stages without bound", test: "Stage/Full", says: "not full", hooks: hooks{
		config: func(_ *mutant, c *brokers.SubscriptionConfig) { c.MaxStaged, c.MaxStagedBytes = 0, 0 },
	}},
	{name: "has no transactions and says it has", test: "Stage/InOrder", says: "which is no Stager", hooks: hooks{
		accept: func(ctx context.Context, s *subscription) (brokers.Partition, error) {
			p, err := s.Subscription.Accept(ctx)
			return struct{ brokers.Partition }{p}, err
		},
	}},
}

// publishNow publishes outside of any transaction.
func (p *partition) publishNow(messages []brokers.Message) error {
	pub, err := p.mutant.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	_, err = pub.Publish(context.Background(), messages...)
	return errors.Join(err, pub.Close(context.Background()))
}
