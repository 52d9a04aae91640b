package rabbitmq_test

import (
	"context"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// judged is a broker whose subscriptions are another client's, so that the suite
// sees what lies in the queues. It acknowledges nothing.
type judged struct {
	*rabbitmq.Broker

	dial func() (*amqp.Connection, error)
}

func (j judged) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	conn, err := j.dial()
	if err != nil {
		return nil, err
	}
	s := &judgeSubscription{judged: j, cfg: cfg, conn: conn, ended: make(chan struct{})}
	for _, topic := range cfg.Topics {
		for id := range j.PartitionCount(ctx, topic) {
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
	conn   *amqp.Connection
	ended  chan struct{}

	mu   sync.Mutex
	todo []place
	once sync.Once
}

func (s *judgeSubscription) Partitions(topic string) int {
	return s.judged.PartitionCount(context.Background(), topic)
}

// Accept hands out the partitions that have a message.
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
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(rabbitmq.GroupQueue(at.topic, s.cfg.Group, int(at.id)), "", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	p := &judgePartition{place: at, ch: ch, deliveries: deliveries}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p, nil
}

func (s *judgeSubscription) Close(context.Context) error {
	s.once.Do(func() {
		close(s.ended)
		_ = s.conn.CloseDeadline(time.Now().Add(time.Second)) // it may be closed by now
	})
	return nil
}

type judgePartition struct {
	place

	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	ctx        context.Context
	cancel     context.CancelCauseFunc
}

func (p *judgePartition) Topic() string             { return p.topic }
func (p *judgePartition) ID() int32                 { return p.id }
func (p *judgePartition) Epoch() uint64             { return 1 }
func (p *judgePartition) Context() context.Context  { return p.ctx }
func (p *judgePartition) Revoking() <-chan struct{} { return p.ctx.Done() }
func (p *judgePartition) Ack(brokers.Ack) error     { return nil }

func (p *judgePartition) Fetch(ctx context.Context, _ brokers.FetchLimit) ([]brokers.Message, error) {
	select {
	case d, ok := <-p.deliveries:
		if !ok {
			return nil, brokers.ErrRevoked
		}
		m := rabbitmq.FromDelivery(&d)
		m.Topic, m.Partition, m.Epoch = p.topic, p.id, 1
		if m.RoutingKey == strconv.Itoa(int(p.id)) {
			m.RoutingKey = ""
		}
		return []brokers.Message{m}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *judgePartition) Close(context.Context) error {
	p.cancel(brokers.ErrRevoked)
	return p.ch.Close()
}
