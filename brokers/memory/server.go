package memory

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/brokers"
)

// Server is the broker's side: what elsewhere runs in another process. It holds
// the topics and the groups of all connections to it. Its methods look into it
// and break it; all may be called concurrently.
type Server struct {
	cfg     Config
	epochs  atomic.Uint64 // the number given last
	changes changes
	faults  faults

	mu     sync.Mutex
	topics map[string]*topic
	groups map[string]*group
	open   map[*epoch]struct{} // those that have not ended
}

// topic is a name and its partitions. It never changes.
type topic struct {
	server *Server
	name   string
	logs   []*log
	dedup  dedup
}

// Connect opens one more connection to the server, as another process would.
func (s *Server) Connect() *Broker { return newBroker(s) }

// topic returns the topic of that name, nil if there is none.
func (s *Server) topic(name string) *topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[name]
}

// topicToPublish is topic, but makes a missing one where the config allows it.
func (s *Server) topicToPublish(name string) (*topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	if s.cfg.RefuseUnknownTopics {
		return nil, fmt.Errorf("%w: %q", brokers.ErrUnknownTopic, name)
	}
	return s.create(name, s.cfg.Partitions), nil
}

// ensure makes a topic or checks it.
func (s *Server) ensure(cfg brokers.TopicConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[cfg.Name]
	switch {
	case t == nil:
		t = s.create(cfg.Name, cfg.Partitions)
	case len(t.logs) != cfg.Partitions:
		return fmt.Errorf("%w: TopicConfig.Partitions: topic %q has %d partitions, not %d",
			brokers.ErrInvalid, cfg.Name, len(t.logs), cfg.Partitions)
	}
	for _, name := range slices.Concat(cfg.Groups, cfg.Competing) {
		s.group(name).know(t)
	}
	return nil
}

// create makes a topic and gives it to the groups that wait for it. It needs
// Server.mu.
func (s *Server) create(name string, partitions int) *topic {
	t := &topic{server: s, name: name, logs: make([]*log, partitions)}
	for i := range t.logs {
		t.logs[i] = newLog(t, int32(i))
	}
	s.topics[name] = t
	for _, g := range s.groups {
		g.appeared(t)
	}
	return t
}

// appeared tells the group of a topic that was just made: all that will be in
// it is published after the members joined.
func (g *group) appeared(t *topic) {
	for _, m := range g.members {
		if m.wants(t.name) {
			g.meet(t, brokers.SubscriptionConfig{})
		}
	}
	g.rebalance()
}

// group returns the group of that name, made if it is missing. It needs
// Server.mu.
func (s *Server) group(name string) *group {
	g := s.groups[name]
	if g == nil {
		g = &group{server: s, name: name, shares: map[slot]*share{}, queues: map[string]*queue{}}
		s.groups[name] = g
	}
	return g
}

// subscribe makes a membership, which joins when its connection is up.
func (s *Server) subscribe(conn *Broker, cfg brokers.SubscriptionConfig) (*subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn.closed {
		return nil, brokers.ErrClosed
	}
	g := s.group(cfg.Group)
	if err := g.admit(cfg); err != nil {
		return nil, err
	}
	sub := newSubscription(conn, g, cfg)
	conn.subs = append(conn.subs, sub)
	if conn.connected {
		g.join(sub)
	}
	return sub, nil
}

// accept hands the next epoch that was offered to s over to its user.
func (s *Server) accept(sub *subscription) *epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := sub.accept()
	if e != nil && e.share != nil {
		e.share.lent = append(e.share.lent, e)
	}
	return e
}

// release ends an epoch whose user has closed it.
func (s *Server) release(e *epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.end(brokers.ErrRevoked)
	if e.share != nil {
		e.share.returned(e)
	}
	e.sub.forget(e)
	e.sub.group.rebalance()
}

// expire ends an epoch whose user took too long to close it.
func (s *Server) expire(e *epoch) {
	s.lose(e, fmt.Errorf("%w: not closed within DrainTimeout (%v)", brokers.ErrRevoked, e.sub.cfg.DrainTimeout))
}

// void ends an epoch whose acknowledgement was refused.
func (s *Server) void(e *epoch) {
	s.lose(e, fmt.Errorf("%w: acknowledgement refused by the broker", brokers.ErrRevoked))
}

func (s *Server) lose(e *epoch, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.end(cause)
	e.sub.group.rebalance()
}

// leave begins a membership's Close; false if another call did.
func (s *Server) leave(sub *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.leaving {
		return false
	}
	sub.leaving = true
	close(sub.closing)
	sub.group.part(sub)
	sub.conn.forget(sub)
	for _, e := range sub.epochs() {
		sub.group.recall(e)
	}
	sub.noteDrained()
	sub.group.rebalance()
	return true
}

// abandon ends what a closing membership still owns and says how much it was.
func (s *Server) abandon(sub *subscription) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range sub.accepted {
		e.end(brokers.ErrRevoked)
	}
	sub.group.rebalance()
	return len(sub.accepted)
}

// openEpochs returns the epochs that have not ended.
func (s *Server) openEpochs() []*epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.open))
}
