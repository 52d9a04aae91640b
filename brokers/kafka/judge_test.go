package kafka_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// judged is a broker whose subscriptions are franz-go's, so that the suite sees
// what another client reads of what the driver published. There are no groups:
// each subscription reads everything.
type judged struct {
	*kafka.Broker

	options []kgo.Opt
}

func (j judged) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	s := &judgeSubscription{judged: j, cfg: cfg, ended: make(chan struct{})}
	for _, topic := range cfg.Topics {
		for id := range j.Broker.PartitionCount(ctx, topic) {
			s.todo = append(s.todo, place{topic, int32(id)})
		}
	}
	return s, nil
}

type place struct {
	topic string
	id    int32
}

type judgeSubscription struct {
	judged judged
	cfg    brokers.SubscriptionConfig
	ended  chan struct{}

	mu    sync.Mutex
	todo  []place
	owned []*judgePartition
	once  sync.Once
}

func (s *judgeSubscription) Partitions(topic string) int {
	return s.judged.PartitionCount(context.Background(), topic)
}

// Accept hands out all partitions there are.
func (s *judgeSubscription) Accept(ctx context.Context) (brokers.Partition, error) {
	s.mu.Lock()
	if len(s.todo) > 0 {
		defer s.mu.Unlock()
		at := s.todo[0]
		s.todo = s.todo[1:]
		return s.own(at)
	}
	s.mu.Unlock()
	select {
	case <-s.ended:
		return nil, brokers.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *judgeSubscription) own(at place) (brokers.Partition, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		at.topic: {at.id: kgo.NewOffset().AtStart()},
	})}, s.judged.options...)...)
	if err != nil {
		return nil, err
	}
	p := &judgePartition{place: at, client: client}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	s.owned = append(s.owned, p)
	return p, nil
}

func (s *judgeSubscription) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.ended) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.owned {
		_ = p.Close(ctx) // it has nothing to say
	}
	return nil
}

type judgePartition struct {
	place

	client *kgo.Client
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (p *judgePartition) Topic() string             { return p.topic }
func (p *judgePartition) ID() int32                 { return p.id }
func (p *judgePartition) Epoch() uint64             { return 1 }
func (p *judgePartition) Context() context.Context  { return p.ctx }
func (p *judgePartition) Revoking() <-chan struct{} { return p.ctx.Done() }
func (p *judgePartition) Ack(brokers.Ack) error     { return nil }

func (p *judgePartition) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	for {
		fetches := p.client.PollRecords(ctx, limit.Messages)
		if err := ctx.Err(); err != nil && fetches.NumRecords() == 0 {
			return nil, err
		}
		if fetches.IsClientClosed() || p.ctx.Err() != nil {
			return nil, brokers.ErrRevoked
		}
		var msgs []brokers.Message
		for _, r := range fetches.Records() {
			m, err := message(r)
			if err != nil {
				return nil, err
			}
			msgs = append(msgs, m)
		}
		if len(msgs) > 0 {
			return msgs, nil
		}
	}
}

func message(r *kgo.Record) (brokers.Message, error) {
	var headers []brokers.Header
	for _, h := range r.Headers {
		headers = append(headers, brokers.Header{Key: h.Key, Value: h.Value})
	}
	m, err := kafka.FromRecord(r.Key, r.Value, headers)
	m.Topic, m.Partition, m.Offset, m.Epoch, m.Time = r.Topic, r.Partition, r.Offset, 1, r.Timestamp
	if m.ID == "" {
		m.ID = fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
	}
	return m, err
}

func (p *judgePartition) Close(context.Context) error {
	p.cancel(brokers.ErrRevoked)
	p.client.Close()
	return nil
}
