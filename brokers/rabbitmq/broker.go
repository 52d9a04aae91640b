package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/openings"
)

// Broker is connections to a cluster: one or more publish, and one does all else, so
// that it works on when the server blocks publishing. See [brokers.Broker].
type Broker struct {
	cfg     Config
	pool    *pool
	publish *link // the pool's first, on which all is said that is no publisher's
	control *link
	server  server
	topics  *topics

	mail *mail

	declared   declaredTopologies
	responders sync.Map // of *responder
	open       openings.Set[*subscription]
	closeOnce  sync.Once
}

var _ brokers.Broker = (*Broker)(nil)

// server is what a server says of itself.
type server struct {
	version string
	major   int
}

// limitsDeliveries says whether it drops what quorum queues have delivered too
// often, unless told not to. Before 4.0 it does not, and knows no way to say so.
func (v server) limitsDeliveries() bool { return v.major >= 4 }

// Open connects to a server. It gives up when ctx ends. A failure is a
// [*brokers.OpenError], or wraps [brokers.ErrInvalid] and names the field.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg.withDefaults()}
	b.pool, b.control = newPool(&b.cfg), newLink(&b.cfg, "consume")
	b.publish = b.pool.links[0]
	b.mail = newMail(b)
	b.topics = &topics{b: b, known: map[string]int{}}
	for _, l := range b.links() {
		l.prepare = b.redeclare
		if err := l.open(ctx); err != nil {
			b.hangUp()
			return nil, err
		}
	}
	conn, err := b.control.wait(ctx)
	if err != nil {
		b.hangUp()
		return nil, err
	}
	b.server.version, _ = conn.Properties["version"].(string)
	major, _, _ := strings.Cut(b.server.version, ".")
	if b.server.major, err = strconv.Atoi(major); err != nil {
		b.hangUp()
		return nil, &brokers.OpenError{
			Endpoint: conn.RemoteAddr().String(), Step: brokers.StepVerify,
			Err: fmt.Errorf("rabbitmq: the server says that its version is %q", b.server.version),
		}
	}
	return b, nil
}

// Name implements [brokers.Broker]; it is "rabbitmq".
func (b *Broker) Name() string { return "rabbitmq" }

// Features implements [brokers.Broker].
func (b *Broker) Features() brokers.Features {
	return brokers.Features{
		IndividualAcks:    true,
		Competing:         true,
		Durable:           true,
		DeliveryCount:     true,
		TTL:               true,
		RequestReply:      true,
		Rejection:         true,
		MaxUnacknowledged: b.cfg.AcknowledgementTimeout,
	}
}

// Publisher implements [brokers.Broker].
func (b *Broker) Publisher(cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	l := b.pool.take()
	p, err := b.open.Publisher(&sender{b: b, l: l}, b.Features(), cfg)
	if err != nil {
		b.pool.giveBack(l)
	}
	return p, err
}

// Health implements [brokers.Broker]. It asks the server nothing.
func (b *Broker) Health(context.Context) brokers.Health {
	var h brokers.Health
	h.Connected = true
	for _, l := range b.links() {
		conn, since, err := l.state()
		if conn == nil {
			h.Connected = false
			h.Err = errors.Join(h.Err, fmt.Errorf("connection to %s: %w", l.purpose, err))
		}
		if since.After(h.Since) {
			h.Since = since
		}
	}
	if h.Err == nil {
		h.Err = errors.Join(b.pool.blockage(), b.declared.fault(), b.unanswering())
	}
	if b.open.Closed() {
		h.Connected, h.Err = false, brokers.ErrClosed
	}
	for _, s := range b.open.Subscriptions() {
		h.Subscriptions = append(h.Subscriptions, s.health(h.Connected))
	}
	return h
}

// unanswering is why responders answer nothing now.
func (b *Broker) unanswering() error {
	var errs []error
	b.responders.Range(func(r, _ any) bool {
		errs = append(errs, r.(*responder).fault())
		return true
	})
	return errors.Join(errs...)
}

// Close implements [brokers.Broker].
func (b *Broker) Close() error {
	b.closeOnce.Do(b.close)
	return nil
}

func (b *Broker) close() {
	b.open.Close()
	b.hangUp()
}

// links are all connections.
func (b *Broker) links() []*link { return append([]*link{b.control}, b.pool.links...) }

// hangUp closes all connections.
func (b *Broker) hangUp() {
	var closing sync.WaitGroup
	for _, l := range b.links() {
		closing.Go(l.close)
	}
	closing.Wait()
}
