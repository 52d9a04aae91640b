package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
	"github.com/troupe-go/troupe/brokers/internal/offers"
)

// topicInterval is how often a topic that does not exist is looked for.
const topicInterval = 500 * time.Millisecond

// subscription is a membership in a group. See [brokers.Subscription].
type subscription struct {
	b   *Broker
	cfg brokers.SubscriptionConfig
	id  string
	log *zap.Logger

	ctx        context.Context // ends when it is closed
	cancel     context.CancelFunc
	life       context.Context // ends when nobody is waited for any more
	die        context.CancelFunc
	offers     *offers.Queue[*partition]
	background sync.WaitGroup // the manager, the lanes, and what they leave to others

	poke    chan struct{} // of one: the manager looks again
	members *nats.Subscription

	mu      sync.Mutex
	topics  map[string]topic // those that exist
	lanes   map[balance.Slot]*lane
	tracker *balance.Tracker
	said    balance.Member // at last
	asked   bool           // a member wants to hear from us
	greet   bool           // we want to hear from all
	listen  time.Time      // until when nothing is decided
	err     error          // why topics cannot be found out

	closeOnce sync.Once
	gone      chan struct{} // closed when Close is done
}

var _ brokers.Subscription = (*subscription)(nil)

// Subscribe implements [brokers.Broker].
func (b *Broker) Subscribe(_ context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	cfg, err := cfg.For(b.Features())
	if err != nil {
		return nil, err
	}
	s := newSubscription(b, cfg)
	if err := b.open.Subscription(s, s.start); err != nil {
		return nil, err
	}
	return s, nil
}

func newSubscription(b *Broker, cfg brokers.SubscriptionConfig) *subscription {
	id := cfg.Member + "-" + uuid.NewString()[:8]
	s := &subscription{
		b: b, cfg: cfg, id: id,
		log:   b.cfg.Logger.With(zap.String("group", cfg.Group), zap.String("member", id)),
		greet: true, poke: make(chan struct{}, 1), offers: offers.New[*partition](), gone: make(chan struct{}),
		topics: map[string]topic{}, lanes: map[balance.Slot]*lane{},
		tracker: balance.New(balance.Config{
			Self: id, MemberTTL: balance.MissedIntervals * b.cfg.MemberInterval, FailoverAfter: b.cfg.FailoverAfter,
		}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.life, s.die = context.WithCancel(context.Background())
	return s
}

func (s *subscription) start() error {
	members, err := s.b.nc.Subscribe(membersSubject(s.cfg.Group), s.hear)
	if err != nil {
		return fmt.Errorf("nats: group %q: %w", s.cfg.Group, err)
	}
	s.members = members
	s.listen = time.Now().Add(joinDelay)
	s.b.link.watch(s, watch{lost: s.changed, back: s.reconnected})
	s.background.Go(s.manage)
	return nil
}

// Accept implements [brokers.Subscription].
func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	p, err := s.offers.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// offer has Accept return a partition, unless its lane is to leave by now.
func (s *subscription) offer(p *partition, l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers.Offer(p)
	if _, leaving, _ := l.state(); leaving {
		s.leave(l)
	}
}

// withdraw takes an offer back whose epoch has ended.
func (s *subscription) withdraw(p *partition) {
	if s.offers.Withdraw(p) {
		close(p.closed)
	}
}

// leave has a lane end. What it owns is asked back of its owner; if it has none
// yet the driver gives it back itself. It needs s.mu.
func (s *subscription) leave(l *lane) {
	p := l.leave()
	switch {
	case p == nil:
	case s.offers.Withdraw(p):
		s.background.Go(func() {
			ctx, cancel := s.b.request(s.life)
			defer cancel()
			_ = p.Close(ctx) // nobody has had anything of it
		})
	default:
		p.revoke()
	}
}

// Partitions implements [brokers.Subscription].
func (s *subscription) Partitions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[name].partitions
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
	s.cancel() // and the manager leaves all lanes
	stop := context.AfterFunc(ctx, s.kill)
	s.background.Wait()
	stop()
	s.die()
	s.b.link.unwatch(s)
	s.speak(true)
	_ = s.members.Unsubscribe() // it fails only if the connection is closed
	s.b.open.Unsubscribed(s)
}

// kill ends what is owned without waiting for its owner.
func (s *subscription) kill() {
	s.die()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if p, _, _ := l.state(); p != nil {
			s.background.Go(func() { _ = p.feed.release(s.life) }) // the owner gets it from its Close
		}
	}
}

// changed has the manager look again.
func (s *subscription) changed() { wake(s.poke) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reconnected is told when the connection is back. What the others said
// meanwhile was not heard.
func (s *subscription) reconnected() {
	s.mu.Lock()
	s.tracker.Refresh(time.Now())
	s.listen = time.Now().Add(joinDelay)
	s.greet = true
	for _, l := range s.lanes {
		l.reconnected()
	}
	s.mu.Unlock()
	s.changed()
}

// topicGone is told by a lane that its stream does not exist any more.
func (s *subscription) topicGone(name string) {
	s.mu.Lock()
	delete(s.topics, name)
	s.mu.Unlock()
	s.changed()
}

// health is what Health says of the subscription.
func (s *subscription) health(connected bool) brokers.SubscriptionHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := brokers.SubscriptionHealth{Group: s.cfg.Group, Topics: s.cfg.Topics, Err: errors.Join(s.offers.Err(), s.err)}
	for _, l := range s.lanes {
		owned, _, err := l.state()
		if h.Err == nil {
			h.Err = err
		}
		if owned != nil && owned.feed.ctx.Err() == nil {
			h.Partitions = append(h.Partitions, brokers.PartitionHealth{
				Topic: owned.Topic(), Partition: owned.ID(), Epoch: owned.Epoch(), Lag: owned.feed.lag(),
			})
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
