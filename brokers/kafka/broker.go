package kafka

import (
	"context"
	"sync"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/openings"
)

// Broker is a connection to a Kafka cluster. See [brokers.Broker].
type Broker struct {
	client *client
	link   *link

	open      openings.Set[*subscription]
	closeOnce sync.Once
	watching  sync.WaitGroup
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
	b := &Broker{client: c, link: newLink(cfg.Logger)}
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
	return brokers.Features{SequencedPublish: true, Transactions: true, Durable: true, Balanced: true}
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
	return b.open.Publisher(newSender(b), b.Features(), cfg)
}

// Health implements [brokers.Broker]. It asks the cluster nothing.
func (b *Broker) Health(context.Context) brokers.Health {
	up, since, err := b.link.state()
	h := brokers.Health{Connected: up, Err: err, Since: since}
	if b.open.Closed() {
		h.Connected, h.Err = false, brokers.ErrClosed
	}
	for _, s := range b.open.Subscriptions() {
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
	b.open.Close()
	b.client.close()
	b.watching.Wait()
}
