package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// subscription is a Subscription at work: it accepts partitions, and has a
// region for each.
type subscription struct {
	sys       *System
	cfg       Subscription
	plan      *blueprint
	handler   Handler
	log       *zap.Logger
	publisher *brokers.Publisher
	source    brokers.Subscription // nil until joined
	pool      pool
	workers   sync.Pool
	gate      gate
	counts    counts
	commits   committer // of durable keys

	individualAcks bool
	sequenced      bool

	mu      sync.RWMutex
	regions map[home]*region
	stops   uint32 // what new regions begin with
	living  sync.WaitGroup
}

// home is a partition, as the key of a map.
type home struct {
	topic     string
	partition int32
}

func newSubscription(sys *System, cfg Subscription) *subscription {
	cfg = cfg.withDefaults()
	s := &subscription{
		sys: sys, cfg: cfg, plan: cfg.Actor.blueprint(), regions: make(map[home]*region),
		log: rateLimited(sys.cfg.Logger).With(zap.String("group", cfg.Group)),
	}
	features := cfg.Broker.Features()
	s.individualAcks, s.sequenced = features.IndividualAcks, features.SequencedPublish
	s.pool.limit = cfg.Concurrency
	s.gate.breaker = supervision.NewBreaker(cfg.Policy.Breaker)
	receive := s.plan.receive
	var h Handler = HandlerFunc(func(ctx *Context) error { return receive(ctx.cell.value, ctx) })
	for i := len(cfg.Middleware) - 1; i >= 0; i-- {
		h = cfg.Middleware[i](h)
	}
	s.handler = h
	return s
}

// run joins the group and serves its partitions until ctx ends, then drains.
func (s *subscription) run(ctx context.Context) error {
	cfg := s.cfg.Publisher
	cfg.Order, cfg.DeliveryTimeout = brokers.OrderPerKey, -1
	// What handlers publish was checked when it was staged; a dead letter may be
	// larger than its message was.
	cfg.MaxMessageBytes = orDefault(cfg.MaxMessageBytes, 1<<20) + supervision.MaxEnvelope
	publisher, err := s.cfg.Broker.Publisher(cfg)
	if err != nil {
		return s.fault("open the publisher", err)
	}
	s.publisher = publisher
	mode := brokers.ModeOrdered
	if s.cfg.Unordered {
		mode = brokers.ModeCompeting
	}
	source, err := s.cfg.Broker.Subscribe(ctx, brokers.SubscriptionConfig{
		Group: s.cfg.Group, Topics: s.cfg.Topics, Mode: mode, Start: s.cfg.Start,
		MaxUnsettled: s.cfg.MaxInFlight + s.cfg.MaxParked,
		DrainTimeout: s.sys.cfg.DrainTimeout + 2*drainGrace, Rejects: s.cfg.Policy.Reject,

		Transactional: s.cfg.Transactional, MaxStaged: s.cfg.MaxStaged, MaxStagedBytes: s.cfg.MaxStagedBytes,
	})
	if err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(s.fault("subscribe", err), s.closePublisher())
	}
	s.mu.Lock()
	s.source = source
	s.mu.Unlock()
	return errors.Join(s.serve(ctx, source), s.closePublisher())
}

func (s *subscription) fault(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("actors: group %q: %s: %w", s.cfg.Group, step, err)
}

// serve accepts partitions. When ctx ends it closes the source, which asks for
// every partition back: shutdown and revocation are one path.
func (s *subscription) serve(ctx context.Context, source brokers.Subscription) error {
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	var failed error
	s.living.Go(func() {
		defer stop()
		for {
			part, err := source.Accept(accepting)
			if err != nil {
				if accepting.Err() == nil && !errors.Is(err, brokers.ErrClosed) {
					failed = s.fault("accept a partition", err)
				}
				return
			}
			s.living.Go(func() { s.own(part) })
		}
	})
	<-accepting.Done()
	s.gate.shut()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.sys.cfg.DrainTimeout+2*drainGrace)
	defer cancel()
	err := source.Close(limit)
	s.living.Wait()
	return errors.Join(failed, s.fault("leave the group", err))
}

// closePublisher waits for what is in flight, within the drain's time.
func (s *subscription) closePublisher() error {
	limit, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	return s.fault("close the publisher", s.publisher.Close(limit))
}

// own serves one partition for its epoch.
func (s *subscription) own(part brokers.Partition) {
	r := newRegion(s, part)
	at := home{part.Topic(), part.ID()}
	s.mu.Lock()
	r.stops.Store(s.stops)
	s.regions[at] = r
	s.mu.Unlock()
	s.sys.observe(func() Event { return PartitionAssigned{r.placeOf()} })
	r.live()
	s.mu.Lock()
	if s.regions[at] == r { // the driver may have offered it again already
		delete(s.regions, at)
	}
	s.mu.Unlock()
}

// owned returns the regions of now.
func (s *subscription) owned() []*region {
	s.mu.RLock()
	defer s.mu.RUnlock()
	regions := make([]*region, 0, len(s.regions))
	for _, r := range s.regions {
		regions = append(regions, r)
	}
	return regions
}

// stopAll and startAll set and clear a reason to start nothing, in all regions
// and those to come.
func (s *subscription) stopAll(reason uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops |= reason
	for _, r := range s.regions {
		r.stops.Or(reason)
	}
}

func (s *subscription) startAll(reason uint32) {
	s.mu.Lock()
	s.stops &^= reason
	s.mu.Unlock()
	for _, r := range s.owned() {
		r.unstop(reason)
	}
}

// unstop takes a reason to start nothing away.
func (r *region) unstop(reason uint32) {
	r.stops.And(^reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spawn()
	if r.wantsRoom {
		r.wantsRoom = false
		signal(r.roomy)
	}
}
