package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrConfig is wrapped by errors of [NewRelay], which name the field.
var ErrConfig = errors.New("outbox: config")

// Config of a Relay.
type Config struct {
	// Source has the rows, and Broker is where they go. Both required.
	Source Source
	Broker brokers.Broker
	// Name tells relays of one source apart. Defaults to a random one.
	Name string
	// Policy judges what the broker refuses for good. Its Park and Retry hold the
	// key; with a DeadLetter topic the zero Policy gives a message up after five
	// attempts, and without it keeps it.
	Policy supervision.Policy
	// Batch is how many rows are read at once. Defaults to 500.
	Batch int
	// Lease is how long a relay that has died keeps others out. Defaults to 10 s.
	Lease time.Duration
	// Poll bounds the time between looks at the source while nothing comes: from
	// the first to the second, doubling. Default to 2 ms and 250 ms.
	PollMin, PollMax time.Duration
	// Logger gets a line for each failure. Defaults to none.
	Logger *zap.Logger
}

// Relay publishes the rows of a source.
type Relay struct {
	cfg       Config
	publisher *brokers.Publisher
	log       *zap.Logger
	held      map[string]*held // by key; refused messages
}

// held is a key whose first message the broker has refused.
type held struct {
	seq      int64
	attempts int
	first    time.Time
	until    time.Time
}

// NewRelay makes a relay. It does no I/O; a fault of the config is an error that
// names the field.
func NewRelay(cfg Config) (*Relay, error) {
	cfg.Name = cmp.Or(cfg.Name, uuid.NewString())
	cfg.Batch = cmp.Or(cfg.Batch, 500)
	cfg.Lease = cmp.Or(cfg.Lease, 10*time.Second)
	cfg.PollMin, cfg.PollMax = cmp.Or(cfg.PollMin, 2*time.Millisecond), cmp.Or(cfg.PollMax, 250*time.Millisecond)
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	switch {
	case cfg.Source == nil:
		return nil, fault("Source is required")
	case cfg.Broker == nil:
		return nil, fault("Broker is required")
	case cfg.Batch < 0:
		return nil, fault("Batch %d is negative", cfg.Batch)
	case cfg.Lease < 0:
		return nil, fault("Lease %v is negative", cfg.Lease)
	case cfg.PollMin < 0 || cfg.PollMax < cfg.PollMin:
		return nil, fault("PollMin %v and PollMax %v are no range", cfg.PollMin, cfg.PollMax)
	}
	if err := cfg.Policy.Validate(); err != nil {
		return nil, fault("Policy: %w", err)
	}
	return &Relay{cfg: cfg, log: cfg.Logger, held: make(map[string]*held)}, nil
}

// Run publishes until ctx ends, and then returns nil. While another relay has the
// lease it stands by. It waits for a broker that is down, and for a store, and
// holds no more than a batch meanwhile. It may be called once.
func (r *Relay) Run(ctx context.Context) error {
	publisher, err := r.cfg.Broker.Publisher(brokers.PublisherConfig{Order: brokers.OrderPerKey, DeliveryTimeout: -1})
	if err != nil {
		return err
	}
	r.publisher = publisher
	for tries := 1; ctx.Err() == nil; tries++ {
		epoch, err := r.cfg.Source.Lease(ctx, r.cfg.Name, r.cfg.Lease)
		if err == nil {
			tries = 0
			err = r.lead(ctx, epoch)
		}
		if err != nil && ctx.Err() == nil {
			r.standBy(ctx, err, tries)
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return r.publisher.Close(limit)
}

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
	clear(r.held) // another relay may have published them
	leading, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keep(leading, epoch, lost)
	}()
	err := r.work(leading, epoch)
	if cause := context.Cause(leading); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	<-kept
	if ctx.Err() != nil { // let the next relay begin at once
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return r.cfg.Source.Release(limit, epoch)
	}
	return err
}

// keep renews the lease.
func (r *Relay) keep(ctx context.Context, epoch int64, lost context.CancelCauseFunc) {
	until := time.Now().Add(r.cfg.Lease)
	for {
		wait(ctx, r.cfg.Lease/4, nil)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		renewed, err := r.cfg.Source.Lease(ctx, r.cfg.Name, r.cfg.Lease)
		switch {
		case err == nil && renewed == epoch:
			until = now.Add(r.cfg.Lease)
		case err == nil, errors.Is(err, ErrLeaseLost), time.Until(until) < r.cfg.Lease/4:
			lost(ErrLeaseLost)
			return
		}
	}
}

// work reads and publishes batches, from the beginning again whenever the end is
// reached, as rows of held keys stay.
func (r *Relay) work(ctx context.Context, epoch int64) error {
	after, pause := int64(0), r.cfg.PollMin
	for ctx.Err() == nil {
		rows, err := r.cfg.Source.Rows(ctx, after, r.cfg.Batch)
		if err != nil {
			return err
		}
		done := r.publish(ctx, rows)
		if len(done) > 0 {
			pause = r.cfg.PollMin
			if err := r.cfg.Source.Done(context.WithoutCancel(ctx), epoch, done); err != nil {
				return err
			}
		}
		if len(rows) == r.cfg.Batch {
			after = rows[len(rows)-1].Seq
			continue
		}
		after = 0
		if len(done) == 0 {
			wait(ctx, pause, r.cfg.Source.Woken())
			pause = min(2*pause, r.cfg.PollMax)
		}
	}
	return nil
}
