package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// drainTimeout is how long members may take to stop.
const drainTimeout = 5 * time.Second

// memberConfig is what a member needs to know, also one in another process.
type memberConfig struct {
	Target  string `json:"target"`
	Address string `json:"address"`
	Name    string `json:"name"`
	Journal string `json:"journal"`
	Topic   string `json:"topic"`
	Effects string `json:"effects"`
	Group   string `json:"group"`
	// Effort is the longest that a message takes.
	Effort time.Duration `json:"effort"`
	// Transactional members publish in transactions.
	Transactional bool `json:"transactional"`
}

// member is a system of this process that handles the workload.
type member struct {
	name    string
	link    *link
	handler *handler
	sys     *actors.System
	cancel  context.CancelFunc
	done    chan struct{} // closed when Run has returned
	report  actors.Report
	err     error
}

// newMember makes a member; change the subscription before start to have
// another policy or other limits.
func newMember(cfg memberConfig, broker brokers.Broker, journal *journal) (*member, actors.Subscription) {
	m := &member{
		name: cfg.Name, done: make(chan struct{}),
		handler: &handler{member: cfg.Name, journal: journal, effects: cfg.Effects, effort: cfg.Effort},
	}
	return m, actors.Subscription{
		Group: cfg.Group, Broker: broker, Topics: []string{cfg.Topic},
		Actor: actors.Shared(m.handler), Transactional: cfg.Transactional,
		Policy: supervision.Policy{
			Backoff: supervision.Exponential(20*time.Millisecond, 200*time.Millisecond),
			// A message that is delivered often kills nobody here.
			MaxAttempts: -1, MaxDeliveries: -1,
		},
	}
}

// start runs the member until stop.
func (m *member) start(log *zap.Logger, sub actors.Subscription) error {
	sys, err := actors.NewSystem(actors.Config{
		Logger: log.Named(m.name), DrainTimeout: drainTimeout, Observe: m.handler.observe,
	}, sub)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.sys, m.cancel = sys, cancel
	go func() {
		defer close(m.done)
		m.report, m.err = sys.Run(ctx)
	}()
	return nil
}

// stop drains the member and returns what was wrong with it.
func (m *member) stop() error {
	m.cancel()
	limit := time.NewTimer(2 * drainTimeout)
	defer limit.Stop()
	select {
	case <-m.done:
	case <-limit.C:
		return fmt.Errorf("member %q does not stop within %v", m.name, 2*drainTimeout)
	}
	if err := errors.Join(m.err, m.handler.failure()); err != nil {
		return fmt.Errorf("member %q: %w", m.name, err)
	}
	return nil
}

// health is what a readiness probe would be told.
func (m *member) health() actors.Health {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return m.sys.Health(ctx)
}
