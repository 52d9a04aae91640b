package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/offers"
)

// transactionInterval is what AckInterval defaults to where transactions go with it,
// as in Kafka Streams.
const transactionInterval = 100 * time.Millisecond

// topicInterval is how often topics that do not exist are looked for.
const topicInterval = 500 * time.Millisecond

// subscription is a membership in a group. See [brokers.Subscription].
type subscription struct {
	b       *Broker
	cfg     brokers.SubscriptionConfig
	log     *zap.Logger
	fetcher *fetcher
	commits *commits
	member  *member

	ctx        context.Context // ends when the membership does
	cancel     context.CancelFunc
	background sync.WaitGroup

	offers  *offers.Queue[*partition]
	changed chan struct{} // of one: an owner has closed a partition

	mu     sync.Mutex
	slots  map[place]*slot
	late   map[string]bool
	passed map[place]error
	err    error // why epochs do not begin
	closed bool

	closeOnce sync.Once
	gone      chan struct{}
	result    error
}

var _ brokers.Subscription = (*subscription)(nil)

// Subscribe implements [brokers.Broker].
func (b *Broker) Subscribe(_ context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	interval := time.Second
	if cfg.Transactional {
		interval = transactionInterval
	}
	cfg.AckInterval = cmp.Or(cfg.AckInterval, interval)
	cfg, err := cfg.For(b.Features())
	if err != nil {
		return nil, err
	}
	if cfg.Transactional && b.client.cfg.ReadUncommitted {
		return nil, fmt.Errorf("%w: SubscriptionConfig.Transactional goes not with Config.ReadUncommitted: what was aborted would lead to what counts", brokers.ErrInvalid)
	}
	s := newSubscription(b, cfg)
	if err := b.open.Subscription(s, s.launch); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

func (s *subscription) launch() error {
	s.background.Go(s.member.run)
	s.background.Go(s.member.beat)
	s.background.Go(s.commits.run)
	return nil
}

func newSubscription(b *Broker, cfg brokers.SubscriptionConfig) *subscription {
	s := &subscription{
		b: b, cfg: cfg,
		log:    b.client.cfg.Logger.With(zap.String("group", cfg.Group), zap.String("member", cfg.Member)),
		offers: offers.New[*partition](), changed: make(chan struct{}, 1), gone: make(chan struct{}),
		slots: map[place]*slot{}, late: map[string]bool{}, passed: map[place]error{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.commits = newCommits(s)
	s.member = newMember(s)
	s.fetcher = newFetcher(s)
	return s
}

// committed says whether only what is committed is read.
func (s *subscription) committed() bool { return !s.b.client.cfg.ReadUncommitted }

// Accept implements [brokers.Subscription].
func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	p, err := s.offers.Accept(ctx)
	switch {
	case err != nil:
		return nil, err
	case p.committer != nil:
		return stagingPartition{p}, nil
	}
	return p, nil
}

// wake leaves a note in c, a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Partitions implements [brokers.Subscription].
func (s *subscription) Partitions(topic string) int {
	if !slices.Contains(s.cfg.Topics, topic) {
		return 0
	}
	t, _ := s.b.client.metadata.cached(topic)
	return len(t.leaders)
}

// fail ends the subscription's use: Accept returns err.
func (s *subscription) fail(err error) {
	if s.offers.Fail(err) {
		s.log.Error("kafka: subscription failed", zap.Error(err))
	}
}

// pass notes what a group had to pass over in a partition.
func (s *subscription) pass(p place, what error) {
	s.mu.Lock()
	s.passed[p] = what
	s.mu.Unlock()
	s.log.Error("kafka: messages were lost before they were read", zap.Error(what))
}

// metLate says whether a topic came to be after the group had looked for it.
func (s *subscription) metLate(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late[topic]
}

// lookForTopics asks the cluster for topics that it did not have yet, or does not
// have any more.
func (s *subscription) lookForTopics() error {
	var missing []string
	for _, t := range s.cfg.Topics {
		if s.Partitions(t) == 0 {
			missing = append(missing, t)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	faults := s.b.client.metadata.refresh(s.ctx, missing...)
	var fault error
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range missing {
		err := faults[t]
		switch {
		case errors.Is(err, brokers.ErrUnknownTopic):
			s.late[t] = true
		case err != nil && !transient(err):
			fault = errors.Join(fault, err)
		}
	}
	return fault
}

// Close implements [brokers.Subscription].
func (s *subscription) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.result = s.close(ctx)
		close(s.gone)
	})
	<-s.gone
	return s.result
}

func (s *subscription) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.revokeAll()
	s.mu.Unlock()
	s.offers.Close()
	err := s.drained(ctx, s.owns)
	if err != nil {
		s.abandon()
	}
	s.cancel()
	s.background.Wait()
	s.member.leave(ctx)
	s.b.open.Unsubscribed(s)
	return err
}

// drained waits until owners here have nothing any more, in the sense of owns.
func (s *subscription) drained(ctx context.Context, owns func() bool) error {
	defer wake(s.changed) // another may wait for the same
	for owns() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// farewell bounds what is still said to the cluster when nobody waits any more.
const farewell = 500 * time.Millisecond

// abandon ends all epochs. What they had acknowledged is sent, if that goes fast.
func (s *subscription) abandon() {
	_, owned := s.ownership()
	for _, p := range owned {
		p.feed.stop()
	}
	ctx, cancel := context.WithTimeout(s.ctx, farewell)
	defer cancel()
	s.commits.hurry(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, sl := range s.slots {
		if sl.p != nil {
			sl.p.end(errLeft)
			sl.p.forgive()
		}
		delete(s.slots, at)
	}
}

// health is what Health says of the subscription.
func (s *subscription) health() brokers.SubscriptionHealth {
	joined, fault := s.member.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := brokers.SubscriptionHealth{Group: s.cfg.Group, Topics: s.cfg.Topics}
	faults := []error{s.offers.Err(), fault, s.err, s.commits.fault()}
	for _, sl := range s.slots {
		if sl.p == nil || sl.p.ctx.Err() != nil || s.offers.Has(sl.p) {
			continue
		}
		faults = append(faults, sl.p.fault())
		h.Partitions = append(h.Partitions, brokers.PartitionHealth{
			Topic: sl.p.topic, Partition: sl.p.place.partition, Epoch: sl.p.epoch, Lag: sl.p.feed.lag(),
		})
	}
	for _, what := range s.passed {
		faults = append(faults, what)
	}
	h.Err = errors.Join(faults...)
	h.State = s.stateLocked(joined, len(h.Partitions))
	return h
}

func (s *subscription) stateLocked(joined bool, owned int) brokers.SubscriptionState {
	exists := false
	for _, t := range s.cfg.Topics {
		exists = exists || s.Partitions(t) > 0
	}
	switch {
	case s.closed:
		return brokers.StateClosed
	case owned > 0:
		return brokers.StateOwning
	case !joined:
		return brokers.StateConnecting
	case !exists:
		return brokers.StateNoPartitions
	}
	return brokers.StateStandby
}
