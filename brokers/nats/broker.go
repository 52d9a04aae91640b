package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/openings"
)

// Broker is a connection to JetStream. See [brokers.Broker].
type Broker struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	link   *link
	topics *topics

	replies  replies
	encoders sync.Pool // of core messages
	slow     sync.Map  // of *nats.Subscription: whom to tell that it is too slow
	life     context.Context
	end      context.CancelFunc

	open      openings.Set[*subscription]
	closeOnce sync.Once
}

var _ brokers.Broker = (*Broker)(nil)

func newBroker(cfg Config) *Broker {
	b := &Broker{
		cfg:  cfg,
		link: newLink(cfg.Logger),
	}
	b.topics = newTopics(b)
	b.replies.b = b
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
		TTL:            each,
		RequestReply:   true,
	}
}

// Publisher implements [brokers.Broker].
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	return b.open.Publisher(newSender(b), b.Features(), cfg)
}

// EnsureTopic implements [brokers.Broker].
func (b *Broker) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	return b.topics.ensure(ctx, cfg)
}

// Health implements [brokers.Broker]. It asks the server nothing.
func (b *Broker) Health(context.Context) brokers.Health {
	up, since, err := b.link.state()
	h := brokers.Health{Connected: up, Err: err, Since: since}
	if b.open.Closed() {
		h.Connected, h.Err = false, brokers.ErrClosed
	}
	for _, s := range b.open.Subscriptions() {
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
	b.end()
	b.open.Close()
	b.nc.Close()
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
