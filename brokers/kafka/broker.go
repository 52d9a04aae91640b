package kafka

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// Broker is a connection to a Kafka cluster. See [brokers.Broker].
type Broker struct {
	client *client
	link   *link

	mu            sync.Mutex
	closed        bool
	publishers    map[*sender]*brokers.Publisher
	subscriptions map[*subscription]struct{}
	closeOnce     sync.Once
	watching      sync.WaitGroup
}

var _ brokers.Broker = (*Broker)(nil)

// Open connects to one of the seeds, and asks it for the cluster. It gives up
// when ctx ends. A failure is a [*brokers.OpenError] of each seed, or wraps
// [brokers.ErrInvalid] and names the field.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.verify(ctx); err != nil {
		c.close()
		return nil, err
	}
	b := &Broker{client: c, link: newLink(cfg.Logger), publishers: map[*sender]*brokers.Publisher{}, subscriptions: map[*subscription]struct{}{}}
	b.watching.Go(b.watch)
	return b, nil
}

// verify connects, and asks for the cluster's nodes.
func (c *client) verify(ctx context.Context) error {
	x, err := c.borrow(ctx, anyNode)
	if err != nil {
		return err
	}
	defer c.giveBack(anyNode, x)
	if err := c.metadata.refreshOn(ctx, x); err != nil {
		return openError(ctx, x.address, verifyStep(err), hungUp(err))
	}
	return nil
}

// Name implements [brokers.Broker]; it is "kafka".
func (b *Broker) Name() string { return "kafka" }

// Features implements [brokers.Broker].
func (b *Broker) Features() brokers.Features {
	return brokers.Features{SequencedPublish: true, Durable: true, Balanced: true}
}

// defaultMaxInFlight is more than that of other drivers: it counts what waits for
// the next batch as well, and small batches cost the cluster as much as large ones.
const defaultMaxInFlight = 16384

// Publisher implements [brokers.Broker]. MaxInFlight defaults to 16,384, or
// MaxBuffered if that is less.
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = defaultMaxInFlight
		if cfg.MaxBuffered > 0 {
			cfg.MaxInFlight = min(cfg.MaxInFlight, cfg.MaxBuffered)
		}
	}
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
	b.publishers[s] = p
	return p, nil
}

// drop forgets a sender that was closed.
func (b *Broker) drop(s *sender) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.publishers, s)
}

// Health implements [brokers.Broker]. It asks the cluster nothing.
func (b *Broker) Health(context.Context) brokers.Health {
	up, since, err := b.link.state()
	h := brokers.Health{Connected: up, Err: err, Since: since}
	b.mu.Lock()
	if b.closed {
		h.Connected, h.Err = false, brokers.ErrClosed
	}
	open := slices.Collect(maps.Keys(b.subscriptions))
	b.mu.Unlock()
	for _, s := range open {
		h.Subscriptions = append(h.Subscriptions, s.health())
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
	var closing sync.WaitGroup
	publishers, subscriptions := b.shut()
	for _, p := range publishers {
		closing.Go(func() { _ = p.Close(ended) }) // each message is reported by itself
	}
	for _, s := range subscriptions {
		closing.Go(func() { _ = s.Close(ended) }) // it is cut short, as it is to be
	}
	closing.Wait()
	b.client.close()
	b.watching.Wait()
}

// shut stops the intake and returns what is open.
func (b *Broker) shut() ([]*brokers.Publisher, []*subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return slices.Collect(maps.Values(b.publishers)), slices.Collect(maps.Keys(b.subscriptions))
}
