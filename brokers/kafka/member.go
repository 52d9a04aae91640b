package kafka

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"go.uber.org/zap"
)

// noGeneration is that of who is no member.
const noGeneration int32 = -1

// identity is under what a member is known to its group.
type identity struct {
	member, instance string
	generation       int32
}

// member keeps a subscription in its group: it joins, and joins anew whenever the
// group is to be shared out anew, while heartbeats go on. The coordinator may give
// this member's partitions away when it has not heard of it for SessionTimeout;
// the lease ends all epochs by then.
type member struct {
	s    *subscription
	poke chan struct{} // of one: join anew

	line   *conn // to the coordinator, of who joins: it may answer late
	lineTo int32

	mu      sync.Mutex
	asked   asked // what who joins waits for
	who     identity
	joining bool
	round   int // counts joinings
	lease   *time.Timer
	leads   bool
	shared  map[string]int // how many partitions of each topic were shared out
	err     error
}

// asked is a request of joining that is under way, which may take as long as the
// slowest member; the zero value is none.
type asked struct {
	line *conn
	node int32
}

func newMember(s *subscription) *member {
	return &member{
		s: s, poke: make(chan struct{}, 1),
		who: identity{instance: s.b.client.cfg.InstanceID, generation: noGeneration},
	}
}

// identity is under what this member is known now.
func (m *member) identity() identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.who
}

// state says whether this member has joined, and why it does not go on.
func (m *member) state() (joined bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.who.generation != noGeneration && !m.joining, m.err
}

// again has this member join anew.
func (m *member) again() { wake(m.poke) }

// run joins again and again until the subscription ends.
func (m *member) run() {
	defer m.hangUp()
	for failures := 0; m.s.ctx.Err() == nil; {
		err := m.rejoin()
		if m.s.ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
		if err == nil {
			failures = 0
			m.stay()
			continue
		}
		if permanent(err) {
			m.s.loseAll(err)
			m.s.fail(err)
			return
		}
		if !errors.Is(err, kafkago.RebalanceInProgress) {
			m.s.log.Debug("kafka: joining failed", zap.Error(err))
			m.hangUp()
			m.s.b.client.forgetCoordinator(groupCoordinator, m.s.cfg.Group)
		}
		if !m.s.b.client.pause(m.s.ctx, failures) {
			return
		}
		failures++
	}
}

// permanent says whether no waiting mends what a group's coordinator, or a leader,
// has said.
func permanent(err error) bool {
	var forGood *permanentError
	if errors.As(err, &forGood) {
		return true
	}
	for _, code := range []kafkago.Error{
		kafkago.GroupAuthorizationFailed, kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed,
		kafkago.InconsistentGroupProtocol, kafkago.InvalidGroupId, kafkago.InvalidSessionTimeout,
		kafkago.FencedInstanceID, kafkago.UnsupportedVersion, kafkago.InvalidTopic,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// permanentError is what no waiting mends.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// rejoin joins the group, and takes over what it is given.
func (m *member) rejoin() error {
	if err := m.s.lookForTopics(); err != nil {
		return err
	}
	if err := m.prepare(); err != nil {
		return err
	}
	returns := m.returning()
	joined, err := m.join()
	if err != nil {
		return err
	}
	given, err := m.sync(joined)
	if err != nil {
		return err
	}
	given, fits := m.s.fitting(given)
	if returns && !fits {
		m.again()
	}
	m.mu.Lock()
	m.joining = false
	m.mu.Unlock()
	m.s.adopt(given)
	return nil
}

// returning says whether this may be a static member that comes back. Until it says
// something new the coordinator answers with what it had, whatever its topics were
// then.
func (m *member) returning() bool {
	who := m.identity()
	return who.instance != "" && who.generation == noGeneration
}

// prepare begins a joining. In an eager group everything is given back first.
func (m *member) prepare() error {
	m.mu.Lock()
	m.joining = true
	m.round++
	m.mu.Unlock()
	if !m.s.b.client.cfg.Assignor.eager() {
		return nil
	}
	m.s.mu.Lock()
	m.s.revokeAll()
	m.s.mu.Unlock()
	return m.s.drained(m.s.ctx, m.s.ownsLive)
}

// stay returns when the group is to be joined anew.
func (m *member) stay() {
	look := time.NewTicker(topicInterval)
	defer look.Stop()
	for {
		select {
		case <-m.s.ctx.Done():
			return
		case <-m.poke:
			return
		case <-look.C:
		}
		err := m.s.lookForTopics()
		m.mu.Lock()
		m.err = err
		leads, shared := m.leads, m.shared
		m.mu.Unlock()
		if leads && !maps.Equal(shared, m.s.b.client.metadata.known(shared, m.s.cfg.Topics)) {
			return
		}
	}
}

// leave tells the group that this member goes, so that others have its partitions
// at once. A static member is expected back.
func (m *member) leave(ctx context.Context) {
	who := m.identity()
	if who.member == "" || who.instance != "" {
		return
	}
	c := m.s.b.client
	patience := c.cfg.RequestTimeout
	if ctx.Err() != nil {
		ctx, patience = context.WithoutCancel(ctx), farewell
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := c.atCoordinator(ctx, groupCoordinator, m.s.cfg.Group, func() error {
		answer, err := c.deliver(ctx, &leavegroup.Request{
			GroupID: m.s.cfg.Group, MemberID: who.member, Members: []leavegroup.RequestMember{{MemberID: who.member}},
		})
		if err == nil {
			err = codeError(answer.(*leavegroup.Response).ErrorCode)
		}
		return err
	})
	if err != nil && !errors.Is(err, kafkago.UnknownMemberId) {
		m.s.log.Info("kafka: left without being heard: others get the partitions after SessionTimeout", zap.Error(err))
	}
}
