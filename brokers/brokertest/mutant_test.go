package brokertest_test

import (
	"context"
	"sync"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// mutant is a memory broker with something broken: each hook that is set takes
// the place of the call it is named for.
type mutant struct {
	*memory.Broker
	hooks hooks

	mu     sync.Mutex
	latest map[slot]*partition // the epochs accepted last
}

type slot struct {
	topic string
	id    int32
}

type hooks struct {
	features    func(*brokers.Features)
	ensureTopic func(*mutant, brokers.TopicConfig) error
	health      func(*brokers.Health)
	config      func(*mutant, *brokers.SubscriptionConfig)
	subscribed  func(context.Context, *subscription)
	send        func(*relay, []*brokers.Outbound)
	sent        func(*brokers.Message)
	closeBroker func(*mutant) error
	disconnect  func(*mutant)

	accept   func(context.Context, *subscription) (brokers.Partition, error)
	accepted func(*partition)
	closeSub func(context.Context, *subscription) error

	number   func(*partition) uint64
	context  func(*partition) context.Context
	revoking func(*partition) <-chan struct{}
	fetch    func(context.Context, *partition, brokers.FetchLimit) ([]brokers.Message, error)
	received func(*brokers.Message)
	ack      func(*partition, brokers.Ack) error
	closeOf  func(context.Context, *partition) error
	stage    func(*partition, int64, []brokers.Message) error
	full     func(*partition) bool
}

func newMutant(b *memory.Broker, h hooks) *mutant {
	return &mutant{Broker: b, hooks: h, latest: map[slot]*partition{}}
}

func (m *mutant) Features() brokers.Features {
	f := m.Broker.Features()
	if m.hooks.features != nil {
		m.hooks.features(&f)
	}
	return f
}

func (m *mutant) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	if m.hooks.ensureTopic != nil {
		return m.hooks.ensureTopic(m, cfg)
	}
	return m.Broker.EnsureTopic(ctx, cfg)
}

func (m *mutant) Health(ctx context.Context) brokers.Health {
	h := m.Broker.Health(ctx)
	if m.hooks.health != nil {
		m.hooks.health(&h)
	}
	return h
}

func (m *mutant) Close() error {
	if m.hooks.closeBroker != nil {
		return m.hooks.closeBroker(m)
	}
	return m.Broker.Close()
}

func (m *mutant) Disconnect() {
	if m.hooks.disconnect != nil {
		m.hooks.disconnect(m)
		return
	}
	m.Broker.Disconnect()
}

func (m *mutant) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	if m.hooks.send == nil && m.hooks.sent == nil {
		return m.Broker.Publisher(cfg)
	}
	inner, err := m.Broker.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit(), MaxMessageBytes: 8 << 20})
	if err != nil {
		return nil, err
	}
	return brokers.NewPublisher(&relay{mutant: m, inner: inner}, m.Features(), cfg)
}

func (m *mutant) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	if m.hooks.config != nil {
		m.hooks.config(m, &cfg)
	}
	inner, err := m.Broker.Subscribe(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &subscription{Subscription: inner, mutant: m}
	if m.hooks.subscribed != nil {
		m.hooks.subscribed(ctx, s)
	}
	return s, nil
}

// relay is a Sender that hands on to a publisher of the memory broker.
type relay struct {
	mutant *mutant
	inner  *brokers.Publisher
}

func (r *relay) Partitions(_ context.Context, topic string) (int, error) {
	if n := r.mutant.Server().Partitions(topic); n > 0 {
		return n, nil
	}
	return 0, brokers.ErrUnknownTopic
}

func (r *relay) Send(ctx context.Context, batch []*brokers.Outbound) {
	if r.mutant.hooks.send != nil {
		r.mutant.hooks.send(r, batch)
		return
	}
	for _, o := range batch {
		r.pass(ctx, o)
	}
}

// pass publishes one message and reports what became of it.
func (r *relay) pass(ctx context.Context, o *brokers.Outbound) {
	receipt, err := r.publish(ctx, o.Message, o.Partition)
	o.Done(receipt, err)
}

func (r *relay) publish(ctx context.Context, m *brokers.Message, partition int32) (brokers.Receipt, error) {
	sent := m.Clone()
	sent.Partition = partition
	if r.mutant.hooks.sent != nil {
		r.mutant.hooks.sent(&sent)
	}
	receipts, err := r.inner.Publish(ctx, sent)
	if err != nil {
		return brokers.Receipt{}, err
	}
	return receipts[0], nil
}

func (r *relay) Flush()       {}
func (r *relay) Close() error { return r.inner.Close(context.Background()) }

type subscription struct {
	joined context.Context // of Subscribe, for a hook
	brokers.Subscription
	mutant *mutant
}

func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	if s.mutant.hooks.accept != nil {
		return s.mutant.hooks.accept(ctx, s)
	}
	return s.next(ctx)
}

// next accepts as the memory broker does.
func (s *subscription) next(ctx context.Context) (brokers.Partition, error) {
	inner, err := s.Subscription.Accept(ctx)
	if err != nil {
		return nil, err
	}
	p := &partition{Partition: inner, mutant: s.mutant}
	s.mutant.mu.Lock()
	s.mutant.latest[slot{p.Topic(), p.ID()}] = p
	s.mutant.mu.Unlock()
	if s.mutant.hooks.accepted != nil {
		s.mutant.hooks.accepted(p)
	}
	return p, nil
}

func (s *subscription) Close(ctx context.Context) error {
	if s.mutant.hooks.closeSub != nil {
		return s.mutant.hooks.closeSub(ctx, s)
	}
	return s.Subscription.Close(ctx)
}

type partition struct {
	brokers.Partition
	mutant *mutant
	kept   []brokers.Message // for hooks that hold messages back
	last   brokers.Ack       // for hooks that hold acknowledgements back
	calls  int               // of the hook in use
}

// current is the partition's latest epoch in this process.
func (p *partition) current() *partition {
	p.mutant.mu.Lock()
	defer p.mutant.mu.Unlock()
	return p.mutant.latest[slot{p.Topic(), p.ID()}]
}

func (p *partition) Epoch() uint64 {
	if p.mutant.hooks.number != nil {
		return p.mutant.hooks.number(p)
	}
	return p.Partition.Epoch()
}

func (p *partition) Context() context.Context {
	if p.mutant.hooks.context != nil {
		return p.mutant.hooks.context(p)
	}
	return p.Partition.Context()
}

func (p *partition) Revoking() <-chan struct{} {
	if p.mutant.hooks.revoking != nil {
		return p.mutant.hooks.revoking(p)
	}
	return p.Partition.Revoking()
}

func (p *partition) Fetch(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	got, err := p.take(ctx, limit)
	for i := range got {
		if p.mutant.hooks.received != nil {
			p.mutant.hooks.received(&got[i])
		}
	}
	return got, err
}

func (p *partition) take(ctx context.Context, limit brokers.FetchLimit) ([]brokers.Message, error) {
	if p.mutant.hooks.fetch != nil {
		return p.mutant.hooks.fetch(ctx, p, limit)
	}
	return p.Partition.Fetch(ctx, limit)
}

func (p *partition) Ack(a brokers.Ack) error {
	if p.mutant.hooks.ack != nil {
		return p.mutant.hooks.ack(p, a)
	}
	return p.Partition.Ack(a)
}

func (p *partition) Close(ctx context.Context) error {
	if p.mutant.hooks.closeOf != nil {
		return p.mutant.hooks.closeOf(ctx, p)
	}
	return p.Partition.Close(ctx)
}

// Stage and Full are those of a brokers.Stager, which it is if its subscription is
// Transactional.
func (p *partition) Stage(offset int64, messages ...brokers.Message) error {
	if p.mutant.hooks.stage != nil {
		return p.mutant.hooks.stage(p, offset, messages)
	}
	return p.stager().Stage(offset, messages...)
}

func (p *partition) Full() bool {
	if p.mutant.hooks.full != nil {
		return p.mutant.hooks.full(p)
	}
	return p.stager().Full()
}

func (p *partition) stager() brokers.Stager { return p.Partition.(brokers.Stager) }
