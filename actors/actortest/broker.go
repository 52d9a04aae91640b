package actortest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// Broker is the in-process broker with a record: what is published through it,
// acknowledged and delivered again goes into its story. It stands in for a
// mock: it feeds what the test gives, by the rules of a real broker. Its faults
// are those of its Server.
type Broker struct {
	*memory.Broker
	scope   Scope
	keyOf   brokers.KeyFunc
	member  string // the default name of its subscriptions
	members *atomic.Int64

	feeding func() *brokers.Publisher
}

var _ brokers.Broker = (*Broker)(nil)

// NewBroker makes a broker that closes with the test. It needs a bubble.
func NewBroker(t TB, cfg memory.Config) *Broker {
	t.Helper()
	needBubble(t)
	return record(t, memory.New(cfg))
}

// record puts a record around a connection, which closes with the test.
func record(t TB, conn *memory.Broker) *Broker {
	b := &Broker{
		Broker: conn, keyOf: brokers.MessageKey, member: "test", members: new(atomic.Int64),
		scope: Scope{story: newStory(t), server: conn.Server(), codec: actors.JSON{}, within: patience},
	}
	b.feeding = sync.OnceValue(b.openFeed)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("actortest: close the broker: %v", err)
		}
	})
	return b
}

// connect is one more connection to the server, with the same record. key is the
// key of what is read by it.
func (b *Broker) connect(key brokers.KeyFunc) *Broker {
	c := *b
	c.Broker, c.keyOf = b.Server().Connect(), key
	c.member = fmt.Sprintf("member-%d", b.members.Add(1))
	c.feeding = sync.OnceValue(c.openFeed)
	return &c
}

// Topic is what is published to a topic. Typed expectations decode JSON.
func (b *Broker) Topic(name string) *Inbox { return b.scope.Topic(name) }

// Story tells what has happened: a line each, with the virtual time since the
// beginning. Log lines below the level Info are left out.
func (b *Broker) Story() string { return b.scope.story.String() }

// Feed publishes messages, together, and returns where they lie.
func (b *Broker) Feed(messages ...brokers.Message) []brokers.Receipt {
	t := b.scope.story.t
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	receipts, err := b.feeding().Publish(limit, messages...)
	if err != nil {
		t.Fatalf("actortest: publish: %v", err)
	}
	return receipts
}

func (b *Broker) openFeed() *brokers.Publisher {
	t := b.scope.story.t
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatalf("actortest: open a publisher: %v", err)
	}
	return p
}

// Publisher implements brokers.Broker: its messages are recorded.
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	behind := cfg
	behind.DeliveryTimeout = -1 // of the one in front
	next, err := b.Broker.Publisher(behind)
	if err != nil {
		return nil, err
	}
	return newRelay(b.scope.story, next, cfg)
}

// Subscribe implements brokers.Broker: what its partitions deliver and
// acknowledge is recorded.
func (b *Broker) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	if cfg.Member == "" {
		cfg.Member = b.member
	}
	sub, err := b.Broker.Subscribe(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &subscription{sub, b, cfg.Group}, nil
}

// subscription hands out partitions that record.
type subscription struct {
	brokers.Subscription
	broker *Broker
	group  string
}

func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	p, err := s.Subscription.Accept(ctx)
	if err != nil {
		return nil, err
	}
	recorded := &partition{Partition: p, sub: s, open: make(map[int64]*brokers.Message)}
	if stager, ok := p.(brokers.Stager); ok {
		return &stagingPartition{partition: recorded, stager: stager}, nil
	}
	return recorded, nil
}

// partition records what it delivers again, and each message that it is told is
// settled.
type partition struct {
	brokers.Partition
	sub *subscription

	mu   sync.Mutex
	open map[int64]*brokers.Message // delivered and not acknowledged, by offset
}

func (p *partition) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	messages, err := p.Partition.Fetch(ctx, limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range messages {
		m := messages[i].Clone()
		p.open[m.Offset] = &m
		if p.sub.broker.scope.story.deliver(p.sub.group, &m) {
			p.tell(&m, redelivered{})
		}
	}
	return messages, err
}

func (p *partition) Ack(a brokers.Ack) error {
	if err := p.Partition.Ack(a); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, offset := range slices.Sorted(maps.Keys(p.open)) {
		if offset <= a.UpTo || slices.Contains(a.Above, offset) {
			p.tell(p.open[offset], acked{})
			delete(p.open, offset)
		}
	}
	return nil
}

// tell enters what happened to a message.
func (p *partition) tell(m *brokers.Message, what any) {
	e := entry{group: p.sub.group, topic: m.Topic, partition: m.Partition, message: m, what: what}
	if key, ok := p.sub.broker.keyOf(m); ok {
		e.key = key
	}
	p.sub.broker.scope.story.add(e)
}
