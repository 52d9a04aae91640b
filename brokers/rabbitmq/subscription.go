package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
	"github.com/troupe-go/troupe/brokers/internal/offers"
)

// subscription is a membership in a group. See [brokers.Subscription].
type subscription struct {
	b   *Broker
	cfg brokers.SubscriptionConfig
	id  string

	ctx        context.Context // ends when it is closed
	cancel     context.CancelFunc
	life       context.Context // ends when nobody is waited for any more
	die        context.CancelFunc
	offers     *offers.Queue[*partition]
	background sync.WaitGroup // the manager, those who listen and speak, and the consumers

	poke  chan struct{} // of one: the manager looks again
	voice chan struct{} // of one: the group is to be told

	mu        sync.Mutex
	topics    map[string]int // those that exist, and how many partitions they have
	consumers map[balance.Slot]*consumer
	tracker   *balance.Tracker
	said      balance.Member // at last
	asked     bool           // a member wants to hear from us
	greet     bool           // we want to hear from all
	hears     bool           // the group can be heard
	listen    time.Time      // until when nothing is decided
	err       error          // why topics cannot be read
	deaf      error          // why the group cannot be heard

	closeOnce sync.Once
	gone      chan struct{} // closed when Close is done
}

var _ brokers.Subscription = (*subscription)(nil)

// Subscribe implements [brokers.Broker]. A group begins where its queues were
// made, which Subscribe does for those that are missing; Start changes nothing,
// and StartAtTime is ErrUnsupported.
func (b *Broker) Subscribe(_ context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	cfg, err := cfg.For(b.Features())
	if err != nil {
		return nil, err
	}
	if cfg.Start == brokers.StartAtTime {
		return nil, fmt.Errorf("%w: SubscriptionConfig.Start StartAtTime: a queue begins when it is made", brokers.ErrUnsupported)
	}
	if err := b.checkGroup(cfg); err != nil {
		return nil, err
	}
	s := newSubscription(b, cfg)
	if err := b.open.Subscription(s, s.start); err != nil {
		return nil, err
	}
	return s, nil
}

// checkGroup refuses names that are too long, queues that are not read in order, and
// such as would drop what is rejected.
func (b *Broker) checkGroup(cfg brokers.SubscriptionConfig) error {
	if exchange := membersExchange(cfg.Group); len(exchange) > maxName {
		return tooLong("SubscriptionConfig.Group: the exchange's name", exchange)
	}
	for _, topic := range cfg.Topics {
		if _, mapped := b.cfg.Queues[topic]; mapped && cfg.Mode != brokers.ModeCompeting {
			return fmt.Errorf("%w: SubscriptionConfig.Mode: %q is in Config.Queues, and a single queue is not read in order", brokers.ErrInvalid, topic)
		}
		if err := b.checkRejects(cfg, topic); err != nil {
			return err
		}
		if queue := groupQueue(topic, cfg.Group, maxPartitions); len(queue) > maxName {
			return tooLong("SubscriptionConfig.Topics: the queue's name", queue)
		}
	}
	return nil
}

func newSubscription(b *Broker, cfg brokers.SubscriptionConfig) *subscription {
	id := cfg.Member + "-" + uuid.NewString()[:8]
	s := &subscription{
		b: b, cfg: cfg, id: id,
		poke: make(chan struct{}, 1), voice: make(chan struct{}, 1),
		offers: offers.New[*partition](), gone: make(chan struct{}),
		topics: map[string]int{}, consumers: map[balance.Slot]*consumer{},
		tracker: balance.New(balance.Config{
			Self: id, MemberTTL: balance.MissedIntervals * b.cfg.MemberInterval, FailoverAfter: b.cfg.FailoverAfter,
		}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.life, s.die = context.WithCancel(context.Background())
	return s
}

func (s *subscription) start() error {
	if !s.competes() { // else there is nothing to share out
		s.background.Go(s.hear)
		s.background.Go(s.speak)
	}
	s.background.Go(s.manage)
	return nil
}

// tag is what an operator sees of a consumer.
func (s *subscription) tag() string {
	if len(s.id) > maxName {
		return s.id[len(s.id)-maxName:]
	}
	return s.id
}

// Accept implements [brokers.Subscription].
func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	p, err := s.offers.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// offer has Accept return a partition, unless its consumer is to leave by now.
func (s *subscription) offer(p *partition, c *consumer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers.Offer(p)
	if _, leaving, _ := c.state(); leaving {
		s.leave(c)
	}
}

// withdraw takes an offer back whose epoch has ended.
func (s *subscription) withdraw(p *partition) {
	if s.offers.Withdraw(p) {
		close(p.closed)
	}
}

// leave has a consumer end. What it owns is asked back of its owner; if it has
// none yet the driver gives it back itself. It needs s.mu.
func (s *subscription) leave(c *consumer) {
	p := c.leave()
	switch {
	case p == nil:
	case s.offers.Withdraw(p):
		s.background.Go(func() {
			_ = p.Close(s.life) // nobody has had anything of it
		})
	default:
		p.revoke()
	}
}

// Partitions implements [brokers.Subscription].
func (s *subscription) Partitions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.topics[name]
	if s.competes() {
		return min(n, 1)
	}
	return n
}

// fail ends the subscription's use: Accept returns err.
func (s *subscription) fail(err error) { s.offers.Fail(err) }

// Close implements [brokers.Subscription].
func (s *subscription) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.close(ctx)
		close(s.gone)
	})
	<-s.gone
	return nil
}

func (s *subscription) close(ctx context.Context) {
	s.offers.Close()
	s.cancel() // and the manager leaves all partitions
	stop := context.AfterFunc(ctx, s.kill)
	s.background.Wait()
	stop()
	s.die()
	s.b.open.Unsubscribed(s)
}

// kill ends what is owned without waiting for its owner.
func (s *subscription) kill() {
	s.die()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.consumers {
		if p, _, _ := c.state(); p != nil {
			s.background.Go(func() { p.expel(s.life) })
		}
	}
}

// topicGone is told by a consumer that its queue does not exist.
func (s *subscription) topicGone(name string) {
	s.b.topics.forget(name)
	s.mu.Lock()
	delete(s.topics, name)
	s.mu.Unlock()
	signal(s.poke)
}

// permanent says whether no waiting mends what the server said: it refuses
// access, or has something of that name and of another kind.
func permanent(err error) bool {
	return hasCode(err, amqp.AccessRefused) || hasCode(err, amqp.PreconditionFailed) || errors.Is(err, errDropsRejected)
}

// health is what Health says of the subscription.
func (s *subscription) health(connected bool) brokers.SubscriptionHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := brokers.SubscriptionHealth{Group: s.cfg.Group, Topics: s.cfg.Topics, Err: s.troubleLocked()}
	for _, c := range s.consumers {
		owned, _, err := c.state()
		if h.Err == nil {
			h.Err = err
		}
		if owned != nil && owned.feed.over() == nil {
			h.Partitions = append(h.Partitions, owned.health())
		}
	}
	switch {
	case s.offers.Closed():
		h.State = brokers.StateClosed
	case len(h.Partitions) > 0:
		h.State = brokers.StateOwning
	case !connected || s.err != nil:
		h.State = brokers.StateConnecting
	case len(s.topics) == 0:
		h.State = brokers.StateNoPartitions
	default:
		h.State = brokers.StateStandby
	}
	return h
}

// troubleLocked is what keeps the whole subscription from progressing. It needs
// s.mu.
func (s *subscription) troubleLocked() error {
	for _, err := range []error{s.offers.Err(), s.err, s.deaf} {
		if err != nil {
			return err
		}
	}
	return nil
}
