package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// Broker is a connection to JetStream. See [brokers.Broker].
type Broker struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	link   *link
	topics *topics

	encoders sync.Pool // of core messages
	slow     sync.Map  // of *nats.Subscription: whom to tell that it is too slow
	life     context.Context
	end      context.CancelFunc

	mu            sync.Mutex
	closed        bool
	senders       map[*sender]*brokers.Publisher
	subscriptions map[*subscription]struct{}
	closeOnce     sync.Once
}

var _ brokers.Broker = (*Broker)(nil)

func newBroker(cfg Config) *Broker {
	b := &Broker{
		cfg:           cfg,
		link:          newLink(cfg.Logger),
		senders:       map[*sender]*brokers.Publisher{},
		subscriptions: map[*subscription]struct{}{},
	}
	b.topics = newTopics(b)
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// Name implements [brokers.Broker]; it is "nats".
func (b *Broker) Name() string { return "nats" }

// Features implements [brokers.Broker].
func (b *Broker) Features() brokers.Features {
	each := b.cfg.Acks == AcksEach
	return brokers.Features{
		IndividualAcks: each,
		Durable:        true,
		DeliveryCount:  each,
		Deduplication:  true,
		TTL:            true,
		RequestReply:   true,
	}
}

// Publisher implements [brokers.Broker].
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	s := newSender(b)
	p, err := brokers.NewPublisher(s, b.Features(), cfg)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, brokers.ErrClosed
	}
	b.senders[s] = p
	return p, nil
}

// EnsureTopic implements [brokers.Broker].
func (b *Broker) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	return b.topics.ensure(ctx, cfg)
}

// Health implements [brokers.Broker]. It asks the server nothing.
func (b *Broker) Health(context.Context) brokers.Health {
	up, since, err := b.link.state()
	h := brokers.Health{Connected: up, Err: err, Since: since}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		h.Connected, h.Err = false, brokers.ErrClosed
	}
	for s := range b.subscriptions {
		sh := s.health(h.Connected)
		h.Subscriptions = append(h.Subscriptions, sh)
		if h.Err == nil && sh.Err != nil {
			h.Err = fmt.Errorf("group %q: %w", sh.Group, sh.Err)
		}
	}
	return h
}

// Close implements [brokers.Broker].
func (b *Broker) Close() error {
	b.closeOnce.Do(b.close)
	return nil
}

func (b *Broker) close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	publishers, subscriptions := b.shut()
	var closing sync.WaitGroup
	for _, s := range subscriptions {
		closing.Go(func() { _ = s.Close(ended) }) // nothing is waited for, so nothing is known
	}
	for _, p := range publishers {
		closing.Go(func() { _ = p.Close(ended) }) // each message is reported by itself
	}
	b.end()
	closing.Wait()
	b.nc.Close()
}

// shut stops the intake and returns what is open.
func (b *Broker) shut() ([]*brokers.Publisher, []*subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	var publishers []*brokers.Publisher
	for _, p := range b.senders {
		publishers = append(publishers, p)
	}
	var subscriptions []*subscription
	for s := range b.subscriptions {
		subscriptions = append(subscriptions, s)
	}
	return publishers, subscriptions
}

// request returns a context for one request to the server.
func (b *Broker) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return b.link.while(ctx, b.cfg.RequestTimeout)
}

// unanswered says whether err means that the server did not answer, as opposed
// to having said no.
func unanswered(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, nats.ErrDisconnected)
}

// drop forgets a sender that was closed.
func (b *Broker) drop(s *sender) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.senders, s)
}
