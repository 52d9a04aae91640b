package memory

import (
	"context"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// subscription is a membership in a group.
type subscription struct {
	conn  *Broker
	group *group
	cfg   brokers.SubscriptionConfig

	arrived chan struct{} // of capacity 1: offered has grown
	closing chan struct{} // closed when Close begins
	drained chan struct{} // closed when, after that, the last epoch is closed
	closed  chan struct{} // closed when Close is done
	result  error         // of Close; readable when closed is

	// Guarded by Server.mu.
	joined   bool     // counts as a member of the group
	killed   bool     // never joins again
	leaving  bool     // Close has begun
	offered  []*epoch // granted and not accepted
	accepted []*epoch // accepted and not closed by the user
}

var _ brokers.Subscription = (*subscription)(nil)

func newSubscription(conn *Broker, g *group, cfg brokers.SubscriptionConfig) *subscription {
	return &subscription{
		conn: conn, group: g, cfg: cfg,
		arrived: make(chan struct{}, 1), closing: make(chan struct{}),
		drained: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Accept implements [brokers.Subscription].
func (s *subscription) Accept(ctx context.Context) (brokers.Partition, error) {
	for {
		select {
		case <-s.closing:
			return nil, brokers.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e := s.conn.server.accept(s); e != nil {
			if s.cfg.Transactional {
				return stager{e}, nil
			}
			return e, nil
		}
		select {
		case <-s.arrived:
		case <-s.closing:
		case <-ctx.Done():
		}
	}
}

// Partitions implements [brokers.Subscription].
func (s *subscription) Partitions(topic string) int {
	t := s.conn.server.topic(topic)
	switch {
	case t == nil || !s.wants(topic):
		return 0
	case s.cfg.Mode == brokers.ModeCompeting:
		return 1
	}
	return len(t.logs)
}

// Close implements [brokers.Subscription].
func (s *subscription) Close(ctx context.Context) error {
	if !s.conn.server.leave(s) {
		<-s.closed
		return s.result
	}
	select {
	case <-s.drained:
	case <-ctx.Done():
		if s.conn.server.abandon(s) > 0 {
			s.result = ctx.Err()
		}
	}
	close(s.closed)
	return s.result
}

// The following need Server.mu.

// offer puts an epoch where Accept finds it.
func (s *subscription) offer(e *epoch) {
	s.offered = append(s.offered, e)
	poke(s.arrived)
}

// accept takes the next epoch that was offered.
func (s *subscription) accept() *epoch {
	if len(s.offered) == 0 {
		return nil
	}
	e := s.offered[0]
	s.offered = s.offered[1:]
	s.accepted = append(s.accepted, e)
	return e
}

// withdraw takes back an offer that nobody has accepted.
func (s *subscription) withdraw(e *epoch) bool {
	i := slices.Index(s.offered, e)
	if i < 0 {
		return false
	}
	s.offered = slices.Delete(s.offered, i, i+1)
	e.end(brokers.ErrRevoked)
	return true
}

// forget notes that the user has closed e.
func (s *subscription) forget(e *epoch) {
	s.accepted = slices.DeleteFunc(s.accepted, func(x *epoch) bool { return x == e })
	s.noteDrained()
}

func (s *subscription) noteDrained() {
	if !s.leaving || len(s.accepted) > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// epochs are those not closed by the user, accepted or not.
func (s *subscription) epochs() []*epoch {
	return slices.Concat(s.accepted, s.offered)
}

// lost takes the member off its group and ends all that it owns.
func (s *subscription) lost(cause error) {
	s.group.part(s)
	for _, e := range s.epochs() {
		if !s.withdraw(e) {
			e.end(cause)
		}
	}
}

func (s *subscription) wants(topic string) bool { return slices.Contains(s.cfg.Topics, topic) }
