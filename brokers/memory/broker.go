package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Broker is a connection to a [Server].
type Broker struct {
	server *Server
	link   stall         // held while disconnected
	gone   chan struct{} // closed by Close

	// Guarded by Server.mu.
	connected bool
	since     time.Time // when connected last changed
	reconnect func()    // lets go of link
	closed    bool
	subs      []*subscription
	senders   map[*sender]*brokers.Publisher // by those that are not closed
}

var _ brokers.Broker = (*Broker)(nil)

// New makes a server of its own and connects to it. It panics on a negative
// value in cfg.
func New(cfg Config) *Broker {
	b, err := open(cfg)
	if err != nil {
		panic(err)
	}
	return b
}

func open(cfg Config) (*Broker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:    cfg.withDefaults(),
		topics: map[string]*topic{},
		groups: map[string]*group{},
		open:   map[*epoch]struct{}{},
	}
	return s.Connect(), nil
}

func newBroker(s *Server) *Broker {
	return &Broker{server: s, gone: make(chan struct{}), connected: true, since: time.Now(), senders: map[*sender]*brokers.Publisher{}}
}

// Server returns the broker's side, to look into it and to break it.
func (b *Broker) Server() *Server { return b.server }

// Name implements [brokers.Broker].
func (b *Broker) Name() string { return "memory" }

// Features implements [brokers.Broker].
func (b *Broker) Features() brokers.Features {
	cfg := &b.server.cfg
	return brokers.Features{
		IndividualAcks:   !cfg.CumulativeOnly,
		SequencedPublish: !cfg.Unsequenced,
		Transactions:     cfg.DedupWindow == 0,
		Competing:        !cfg.CumulativeOnly,
		Balanced:         true,
		DeliveryCount:    cfg.CountDeliveries,
		Deduplication:    cfg.DedupWindow > 0,
		TTL:              true,
	}
}

// Publisher implements [brokers.Broker].
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if b.closed {
		return nil, brokers.ErrClosed
	}
	s := newSender(b)
	p, err := brokers.NewPublisher(s, b.Features(), cfg)
	if err != nil {
		return nil, err
	}
	b.senders[s] = p
	return p, nil
}

// EnsureTopic implements [brokers.Broker].
func (b *Broker) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	if cfg.Name == "" {
		return fmt.Errorf("%w: TopicConfig.Name is empty", brokers.ErrInvalid)
	}
	if cfg.Partitions < 0 {
		return fmt.Errorf("%w: TopicConfig.Partitions is negative", brokers.ErrInvalid)
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = b.server.cfg.Partitions
	}
	if err := b.up(ctx); err != nil {
		return err
	}
	return b.server.ensure(cfg)
}

// up waits until the connection is.
func (b *Broker) up(ctx context.Context) error {
	for {
		held, _ := b.link.state()
		select {
		case <-b.gone:
			return brokers.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("memory: waiting for the broker: %w", ctx.Err())
		default:
		}
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-b.gone:
		case <-ctx.Done():
		}
	}
}

// Subscribe implements [brokers.Broker].
func (b *Broker) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg, err := cfg.For(b.Features())
	if err != nil {
		return nil, err
	}
	sub, err := b.server.subscribe(b, cfg)
	if err != nil {
		return nil, err
	}
	return sub, nil
}
