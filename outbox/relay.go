package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrConfig is wrapped by errors of [NewRelay] and [Retention], which name the field.
var ErrConfig = errors.New("outbox: config")

// ErrStopped is wrapped by the error of [Relay.Run] when the policy's verdict on a
// message is Stop. The message stays in the store.
var ErrStopped = errors.New("outbox: stopped by the policy")

// Config of a Relay.
type Config struct {
	// Source has the rows, and Broker is where they go. Both required.
	Source Source
	Broker brokers.Broker
	// Name tells relays of one source apart. Defaults to a random one.
	Name string
	// Policy judges what the broker refuses for good. Its Park and Retry hold the
	// key; with a DeadLetter topic the zero Policy gives a message up after five
	// attempts, and without it keeps it. Its Stop ends Run.
	Policy supervision.Policy
	// Batch is how many rows are read at once. Defaults to 500.
	Batch int
	// Lease is how long a relay that has died keeps others out. Defaults to 10 s.
	Lease time.Duration
	// Poll bounds the time between looks at the source while nothing comes: from
	// the first to the second, doubling. Default to 2 ms and 250 ms.
	PollMin, PollMax time.Duration
	// MaxParked is how many keys may wait for a message that cannot be published.
	// The next one holds up all behind it. Defaults to 10,000.
	MaxParked int
	// Observe is told of what happens: see outbox/prommetrics for a sink. It is
	// called in the relay's goroutines, and must be quick. Defaults to none.
	Observe func(Event)
	// LagEvery is how often Observe is told what waits. Defaults to 5 s.
	LagEvery time.Duration
	// Logger gets a line for each failure. Defaults to none.
	Logger *zap.Logger
}

// Relay publishes the rows of a source.
type Relay struct {
	cfg       Config
	publisher *brokers.Publisher
	log       *zap.Logger
	held      map[int64]time.Time // by lane: until when it waits. Its rows are aside
	due       time.Time           // when the first of them is to be tried; zero if there is none
}

// NewRelay makes a relay. It does no I/O; a fault of the config is an error that
// names the field.
func NewRelay(cfg Config) (*Relay, error) {
	cfg.Name = cmp.Or(cfg.Name, uuid.NewString())
	cfg.Batch = cmp.Or(cfg.Batch, 500)
	cfg.Lease = cmp.Or(cfg.Lease, 10*time.Second)
	cfg.PollMin, cfg.PollMax = cmp.Or(cfg.PollMin, 2*time.Millisecond), cmp.Or(cfg.PollMax, 250*time.Millisecond)
	cfg.MaxParked, cfg.LagEvery = cmp.Or(cfg.MaxParked, 10_000), cmp.Or(cfg.LagEvery, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	switch {
	case cfg.Source == nil:
		return nil, configFault("Source is required")
	case cfg.Broker == nil:
		return nil, configFault("Broker is required")
	case cfg.Batch < 0:
		return nil, configFault("Batch %d is negative", cfg.Batch)
	case cfg.Lease < 0:
		return nil, configFault("Lease %v is negative", cfg.Lease)
	case cfg.MaxParked < 0:
		return nil, configFault("MaxParked %d is negative", cfg.MaxParked)
	case cfg.LagEvery < 0:
		return nil, configFault("LagEvery %v is negative", cfg.LagEvery)
	case cfg.PollMin < 0 || cfg.PollMax < cfg.PollMin:
		return nil, configFault("PollMin %v and PollMax %v are no range", cfg.PollMin, cfg.PollMax)
	}
	if err := cfg.Policy.Validate(); err != nil {
		return nil, configFault("Policy: %w", err)
	}
	if cfg.Policy.Reject {
		return nil, configFault("Policy: Reject: a row is rejected by nobody; name a DeadLetter")
	}
	return &Relay{cfg: cfg, log: cfg.Logger, held: make(map[int64]time.Time)}, nil
}

func configFault(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
}

// Run publishes until ctx ends, and then returns nil, or until the policy stops it
// ([ErrStopped]), or the broker makes no publisher. While another relay has the
// lease it stands by. It waits for a broker that is down, and for a store, and
// holds no more than a batch meanwhile. It may be called once.
func (r *Relay) Run(ctx context.Context) error {
	for tries := 1; ctx.Err() == nil; tries++ {
		epoch, err := r.cfg.Source.Lease(ctx, r.cfg.Name, r.cfg.Lease)
		if err == nil {
			tries = 0
			err = r.lead(ctx, epoch)
		}
		if final := (*finalError)(nil); errors.As(err, &final) {
			return final.err
		}
		if err != nil && ctx.Err() == nil {
			r.standBy(ctx, err, max(tries, 1))
		}
	}
	return nil
}

// finalError ends Run.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

var standBackoff = supervision.Exponential(50*time.Millisecond, 5*time.Second)

// standBy waits after a failure, or while another relay leads.
func (r *Relay) standBy(ctx context.Context, err error, tries int) {
	after := r.cfg.Lease / 4
	if !errors.Is(err, ErrLeaseLost) {
		after = standBackoff.Delay(tries, uint64(len(r.cfg.Name)))
		r.log.Warn("outbox relay: the store failed", zap.Error(err), zap.Duration("retry_in", after))
	}
	wait(ctx, after, nil)
}

func wait(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// lead publishes for as long as the lease can be kept.
func (r *Relay) lead(ctx context.Context, epoch int64) error {
	publisher, err := r.cfg.Broker.Publisher(brokers.PublisherConfig{Order: brokers.OrderPerKey, DeliveryTimeout: -1})
	if err != nil {
		return errors.Join(&finalError{err}, r.release(ctx, epoch))
	}
	r.publisher = publisher
	r.observe(Leading{epoch})
	defer r.observe(StoodDown{epoch})
	leading, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	var beside sync.WaitGroup
	beside.Go(func() { r.keep(leading, epoch, lost) })
	if r.cfg.Observe != nil {
		beside.Go(func() { r.watch(leading) })
	}
	err = r.work(leading, epoch)
	if cause := context.Cause(leading); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	beside.Wait()
	r.closePublisher()
	if final := (*finalError)(nil); ctx.Err() != nil || errors.As(err, &final) { // let the next relay begin at once
		return errors.Join(err, r.release(ctx, epoch))
	}
	return err
}

func (r *Relay) release(ctx context.Context, epoch int64) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return r.cfg.Source.Release(limit, epoch)
}

// closePublisher has all that is under way end, well before the lease is another
// relay's.
func (r *Relay) closePublisher() {
	limit, cancel := context.WithTimeout(context.Background(), min(time.Second, r.cfg.Lease/8))
	defer cancel()
	if err := r.publisher.Close(limit); err != nil {
		r.log.Info("outbox relay: the broker has not confirmed all; what it has not is published again", zap.Error(err))
	}
}

// keep renews the lease. A quarter before its end it is taken for lost.
func (r *Relay) keep(ctx context.Context, epoch int64, lost context.CancelCauseFunc) {
	until := time.Now().Add(r.cfg.Lease)
	for {
		wait(ctx, r.cfg.Lease/4, nil)
		if ctx.Err() != nil {
			return
		}
		now, safe := time.Now(), until.Add(-r.cfg.Lease/4)
		limited, cancel := context.WithDeadline(ctx, safe)
		renewed, err := r.cfg.Source.Lease(limited, r.cfg.Name, r.cfg.Lease)
		cancel()
		switch {
		case err == nil && renewed == epoch:
			until = now.Add(r.cfg.Lease)
		case err == nil, errors.Is(err, ErrLeaseLost), !time.Now().Before(safe):
			lost(ErrLeaseLost)
			return
		}
	}
}
