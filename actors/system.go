package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/brokers"
)

// System runs subscriptions: it owns their partitions, key actors and workers.
type System struct {
	cfg     Config
	actors  *actor.ActorSystem
	own     bool // the actor system is ours to shut down
	host    string
	subs    []*subscription
	budget  *budget
	ran     atomic.Bool
	over    atomic.Bool // Run has ended
	stopped chan struct{}
	once    sync.Once
	cause   error
}

// NewSystem checks the config and reports every fault at once, by field, each
// wrapping [ErrConfig]. It does no I/O and starts nothing.
func NewSystem(cfg Config, subs ...Subscription) (*System, error) {
	if err := validate(cfg, subs); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	sys := &System{
		cfg: cfg, actors: cfg.ActorSystem, stopped: make(chan struct{}),
		budget: newBudget(cfg.MaxInFlight, cfg.MaxInFlightBytes),
	}
	sys.host, _ = os.Hostname() // dead letters without a host are as good
	if sys.actors == nil {
		sys.own = true
		// Its throttle of dead-letter lines, which nobody sees, is a goroutine that
		// sleeps for this long.
		sys.actors = actor.NewActorSystem(actor.WithLoggerFactory(quiet), actor.WithDeadLetterThrottleInterval(time.Nanosecond))
	}
	for i := range subs {
		sys.subs = append(sys.subs, newSubscription(sys, subs[i]))
	}
	// Resolvers are an unsynchronised list of the actor system, so all of them
	// are in it before anything is sent.
	for _, s := range sys.subs {
		s.registerProcess()
	}
	return sys, nil
}

// quiet keeps protoactor's own lines out of the user's log: it writes one per
// failure, unthrottled, and what matters is logged here.
func quiet(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }

// ActorSystem is protoactor's, on which actors of the user's can ask keys.
func (s *System) ActorSystem() *actor.ActorSystem { return s.actors }

// Run joins the groups and handles messages until ctx ends or a verdict says
// Stop; then it drains: no more intake, what runs may finish, effects are
// confirmed, what is settled is acknowledged, partitions are released. It takes
// DrainTimeout and about two seconds at most, also if handlers ignore their
// context. The error is nil after a clean stop, a [*StoppedError] after a
// verdict, else what kept a subscription from working. The Report is true in
// each case. A system runs once.
func (s *System) Run(ctx context.Context) (Report, error) {
	if s.ran.Swap(true) {
		return Report{}, ErrRunning
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(s.subs))
	var wg sync.WaitGroup
	for i, sub := range s.subs {
		wg.Go(func() {
			defer stop() // one that cannot work ends all
			errs[i] = sub.run(running)
		})
	}
	select {
	case <-running.Done():
	case <-s.stopped:
		stop()
	}
	wg.Wait()
	for _, sub := range s.subs {
		if !sub.pool.awaitIdle(drainGrace) {
			sub.log.Error("workers are still busy with handlers that ignore their context")
		}
	}
	s.over.Store(true)
	if s.own {
		s.actors.Shutdown()
	}
	return s.Report(), errors.Join(append(errs, s.cause)...)
}

// stop ends Run because of a verdict; the first one counts.
func (s *System) stop(cause *StoppedError) {
	s.once.Do(func() {
		s.cause = cause
		close(s.stopped)
	})
}

// Report says what has happened so far.
func (s *System) Report() Report {
	var total Report
	groups := make(map[string]Report, len(s.subs))
	for _, sub := range s.subs {
		one := sub.counts.report()
		total = total.plus(one)
		groups[sub.cfg.Group] = groups[sub.cfg.Group].plus(one)
	}
	if len(s.subs) > 1 {
		total.Groups = groups
	}
	return total
}

// ErrNoSubscription is returned by operations that name no subscription of the
// system.
var ErrNoSubscription = errors.New("actors: no such subscription")

// Pause stops a subscription: nothing of it is started or fetched until Resume.
// What runs goes on. Its partitions stay owned.
func (s *System) Pause(group string) error {
	return s.each(group, func(sub *subscription) { sub.stopAll(stopPaused) })
}

// Resume ends Pause.
func (s *System) Resume(group string) error {
	return s.each(group, func(sub *subscription) { sub.startAll(stopPaused) })
}

// PausePartition stops one owned partition, until ResumePartition or the end of
// its epoch.
func (s *System) PausePartition(group, topic string, partition int32) error {
	return s.at(group, topic, partition, func(r *region) { r.stops.Or(stopPartition) })
}

// ResumePartition ends PausePartition.
func (s *System) ResumePartition(group, topic string, partition int32) error {
	return s.at(group, topic, partition, func(r *region) { r.unstop(stopPartition) })
}

// ReleaseKey lets a key that was given up under OverflowDeadLetterKey be handled
// again. [ErrNotOwned] says that the key is not here, or was not given up.
func (s *System) ReleaseKey(group, topic string, key []byte) error {
	return s.key(group, topic, key, func(r *region) bool { return r.pardon(string(key)) })
}

// RetryKey ends the waiting of a key that backs off or is parked. [ErrNotOwned]
// says that the key is not here, or does not wait.
func (s *System) RetryKey(group, topic string, key []byte) error {
	return s.key(group, topic, key, func(r *region) bool { return r.retryNow(string(key)) })
}

func (s *System) each(group string, f func(*subscription)) error {
	found := false
	for _, sub := range s.subs {
		if sub.cfg.Group == group {
			found = true
			f(sub)
		}
	}
	if !found {
		return fmt.Errorf("%w: group %q", ErrNoSubscription, group)
	}
	return nil
}

func (s *System) at(group, topic string, partition int32, f func(*region)) error {
	err := fmt.Errorf("%w: group %q, topic %q, partition %d", ErrNotOwned, group, topic, partition)
	unknown := s.each(group, func(sub *subscription) {
		sub.mu.RLock()
		r := sub.regions[home{topic, partition}]
		sub.mu.RUnlock()
		if r != nil {
			f(r)
			err = nil
		}
	})
	return orDefault(unknown, err)
}

func (s *System) key(group, topic string, key []byte, f func(*region) bool) error {
	err := fmt.Errorf("%w: group %q, topic %q, key %q", ErrNotOwned, group, topic, key)
	unknown := s.each(group, func(sub *subscription) {
		if r := sub.region(topic, key); r != nil && f(r) {
			err = nil
		}
	})
	return orDefault(unknown, err)
}

// Health is what a readiness probe needs to know of a system.
type Health struct {
	// Ready: every subscription is connected, owns partitions or stands by, with
	// no fault that keeps one of them from progressing, and is neither suspended
	// nor held.
	Ready bool `json:"ready"`
	// Faults say why not.
	Faults []string `json:"faults,omitempty"`
}

// Health looks at every subscription; it asks each broker at most once.
func (s *System) Health(ctx context.Context) Health {
	var h Health
	for _, sub := range s.subs {
		h.Faults = append(h.Faults, sub.faults(ctx)...)
	}
	h.Ready = len(h.Faults) == 0
	return h
}

func (s *subscription) faults(ctx context.Context) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("group %q: ", s.cfg.Group)+fmt.Sprintf(format, args...))
	}
	health := s.cfg.Broker.Health(ctx)
	if !health.Connected {
		fault("broker is not connected: %v", health.Err)
	}
	s.mu.RLock()
	joined := s.source != nil
	s.mu.RUnlock()
	if !joined {
		fault("has not joined")
	}
	for _, b := range health.Subscriptions {
		working := b.State == brokers.StateOwning || b.State == brokers.StateStandby
		if b.Group == s.cfg.Group && (!working || b.Err != nil) {
			fault("topics %q: %v (%v)", b.Topics, b.State, b.Err)
		}
	}
	if err := s.gate.suspension(); err != nil {
		fault("suspended: %v", err)
	}
	for _, r := range s.owned() {
		if held := r.holding(); held != "" {
			fault("topic %q, partition %d: %s", r.part.Topic(), r.part.ID(), held)
		}
	}
	return faults
}
