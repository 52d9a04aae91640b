// Package openings keeps what a broker has open, and closes it with the broker.
package openings

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// Set is what is open at a broker whose own type of subscription is S. The zero
// value is empty. Its methods may be called at any time.
type Set[S interface {
	comparable
	brokers.Subscription
}] struct {
	mu            sync.Mutex
	closed        bool
	publishers    map[brokers.Sender]*brokers.Publisher
	subscriptions map[S]struct{}
}

// Publisher makes a publisher, which is open until its sender is given to
// Published. It fails as [brokers.NewPublisher] does, and with
// [brokers.ErrClosed] after Close.
func (s *Set[S]) Publisher(by brokers.Sender, f brokers.Features, cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	p, err := brokers.NewPublisher(by, f, cfg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, brokers.ErrClosed
	}
	if s.publishers == nil {
		s.publishers = map[brokers.Sender]*brokers.Publisher{}
	}
	s.publishers[by] = p
	return p, nil
}

// Published forgets the publisher of a sender that is closed.
func (s *Set[S]) Published(by brokers.Sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.publishers, by)
}

// Subscription adds a subscription, which is open until Unsubscribed, if start
// returns nil. After Close it returns [brokers.ErrClosed], and start is not called.
func (s *Set[S]) Subscription(sub S, start func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return brokers.ErrClosed
	}
	if err := start(); err != nil {
		return err
	}
	if s.subscriptions == nil {
		s.subscriptions = map[S]struct{}{}
	}
	s.subscriptions[sub] = struct{}{}
	return nil
}

// Unsubscribed forgets a subscription that is closed.
func (s *Set[S]) Unsubscribed(sub S) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subscriptions, sub)
}

// Subscriptions returns those that are open.
func (s *Set[S]) Subscriptions() []S {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.subscriptions))
}

// Closed says whether Close was called.
func (s *Set[S]) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close takes nothing more, and closes all that is open without waiting for what
// is under way: each message is reported by itself, and epochs are cut short.
func (s *Set[S]) Close() {
	s.mu.Lock()
	s.closed = true
	publishers, subscriptions := maps.Clone(s.publishers), maps.Clone(s.subscriptions)
	s.mu.Unlock()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var closing sync.WaitGroup
	for _, p := range publishers {
		closing.Go(func() { _ = p.Close(ended) })
	}
	for sub := range subscriptions {
		closing.Go(func() { _ = sub.Close(ended) })
	}
	closing.Wait()
}
