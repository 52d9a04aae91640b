package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
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

	line *conn // to the coordinator, of who joins: it may answer late

	mu      sync.Mutex
	who     identity
	joining bool
	round   int // counts joinings
	lease   *time.Timer
	leads   bool
	shared  map[string]int // how many partitions of each topic were shared out
	err     error
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
	joined, err := m.join()
	if err != nil {
		return err
	}
	given, err := m.sync(joined)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.joining = false
	m.mu.Unlock()
	m.s.adopt(given)
	return nil
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

// join sends who this member is, and what it has, until the coordinator takes it.
func (m *member) join() (*joingroup.Response, error) {
	for {
		select {
		case <-m.poke: // what is said now says it all
		default:
		}
		answer, err := m.ask(m.introduction())
		if err != nil {
			return nil, err
		}
		r := answer.(*joingroup.Response)
		err = codeError(r.ErrorCode)
		if errors.Is(err, kafkago.MemberIDRequired) {
			m.mu.Lock()
			m.who.member = r.MemberID
			m.mu.Unlock()
			continue
		}
		if err != nil {
			return nil, m.refused("join", err)
		}
		m.mu.Lock()
		m.who.member, m.who.generation = r.MemberID, r.GenerationID
		m.leads = r.LeaderID == r.MemberID
		m.mu.Unlock()
		return r, nil
	}
}

func (m *member) rounds() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint32(m.round)
}

// introduction is the request to join.
func (m *member) introduction() *joingroup.Request {
	cfg := &m.s.b.client.cfg
	held := m.s.held()
	who := m.identity()
	if cfg.Assignor.eager() || who.generation == noGeneration {
		held = nil
	}
	rebalance := cfg.RebalanceTimeout
	if cfg.Assignor.eager() {
		rebalance = max(rebalance, m.s.cfg.DrainTimeout+cfg.HeartbeatInterval+cfg.RequestTimeout)
	}
	return &joingroup.Request{
		GroupID: m.s.cfg.Group, MemberID: who.member, GroupInstanceID: who.instance,
		SessionTimeoutMS: int32(cfg.SessionTimeout / time.Millisecond), RebalanceTimeoutMS: int32(rebalance / time.Millisecond),
		ProtocolType: "consumer",
		Protocols: []joingroup.RequestProtocol{{
			Name: cfg.Assignor.name(),
			Metadata: encodeSubscription(groupMember{
				topics: m.s.cfg.Topics, owned: held, generation: who.generation, round: m.rounds(),
			}),
		}},
	}
}

// sync gets what this member is given. The leader shares out first.
func (m *member) sync(joined *joingroup.Response) ([]place, error) {
	request := &syncgroup.Request{
		GroupID: m.s.cfg.Group, GenerationID: joined.GenerationID, MemberID: joined.MemberID,
		GroupInstanceID: m.identity().instance, ProtocolType: "consumer", ProtocolName: m.s.b.client.cfg.Assignor.name(),
	}
	if joined.LeaderID == joined.MemberID {
		var err error
		if request.Assignments, err = m.share(joined.Members); err != nil {
			return nil, err
		}
	}
	sent := time.Now()
	answer, err := m.ask(request)
	if err != nil {
		return nil, err
	}
	r := answer.(*syncgroup.Response)
	if err := codeError(r.ErrorCode); err != nil {
		return nil, m.refused("get what is assigned in", err)
	}
	m.extend(sent)
	return decodeAssignment(r.Assignments)
}

// share has the leader share out the partitions of all topics that exist.
func (m *member) share(list []joingroup.ResponseMember) ([]syncgroup.RequestAssignment, error) {
	var members []groupMember
	topics := map[string]bool{}
	for _, x := range list {
		g, err := decodeSubscription(x.Metadata)
		if err != nil {
			return nil, fmt.Errorf("member %q of group %q: %w", x.MemberID, m.s.cfg.Group, err)
		}
		if g.id, g.name = x.MemberID, x.MemberID; x.GroupInstanceID != "" {
			g.name = x.GroupInstanceID
		}
		members = append(members, g)
		for _, t := range g.topics {
			topics[t] = true
		}
	}
	counts, err := m.s.b.client.metadata.counts(m.s.ctx, topics)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.shared = counts
	m.mu.Unlock()
	given := m.s.b.client.cfg.Assignor.assign(members, counts)
	var out []syncgroup.RequestAssignment
	for i := range members {
		out = append(out, syncgroup.RequestAssignment{MemberID: members[i].id, Assignment: encodeAssignment(given[members[i].id])})
	}
	return out, nil
}

// ask sends a request of joining to the coordinator. It may take as long as the
// slowest member.
func (m *member) ask(msg protocol.Message) (protocol.Message, error) {
	c := m.s.b.client
	node, err := c.coordinator(m.s.ctx, groupCoordinator, m.s.cfg.Group)
	if err != nil {
		return nil, err
	}
	if m.line != nil && m.line.failed() != nil {
		m.hangUp()
	}
	if m.line == nil {
		if m.line, err = c.connectAs(m.s.ctx, node, m.s.cfg.Member); err != nil {
			return nil, err
		}
	}
	patience := max(c.cfg.RebalanceTimeout, m.s.cfg.DrainTimeout) + c.cfg.SessionTimeout + c.cfg.RequestTimeout
	return m.line.roundTrip(m.s.ctx, msg, patience)
}

// hangUp ends the connection of who joins.
func (m *member) hangUp() {
	if m.line != nil {
		m.s.b.client.drop(m.line)
		m.line = nil
	}
}

// refused does what a coordinator's refusal means for what this member has.
func (m *member) refused(what string, err error) error {
	m.mu.Lock()
	switch {
	case errors.Is(err, kafkago.UnknownMemberId):
		m.who.member, m.who.generation = "", noGeneration
	case errors.Is(err, kafkago.IllegalGeneration):
		m.who.generation = noGeneration
	}
	lost := m.who.generation == noGeneration
	m.mu.Unlock()
	if lost {
		m.s.loseAll(fmt.Errorf("%w: %w", errExpelled, err))
	}
	if errors.Is(err, kafkago.InvalidSessionTimeout) {
		return fmt.Errorf("kafka: Config.SessionTimeout is %v: %w", m.s.b.client.cfg.SessionTimeout, err)
	}
	return fmt.Errorf("kafka: %s group %q: %w", what, m.s.cfg.Group, err)
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

// beat sends heartbeats until the subscription ends.
func (m *member) beat() {
	cfg := &m.s.b.client.cfg
	timer := time.NewTimer(cfg.HeartbeatInterval)
	defer timer.Stop()
	for {
		select {
		case <-m.s.ctx.Done():
			m.endLease()
			return
		case <-timer.C:
		}
		wait := cfg.HeartbeatInterval
		if !m.heartbeat() {
			wait = min(wait, cfg.RetryMax)
		}
		timer.Reset(wait)
	}
}

// heartbeat sends one; false if no answer came.
func (m *member) heartbeat() bool {
	c := m.s.b.client
	m.mu.Lock()
	who, round := m.who, m.round
	m.mu.Unlock()
	if who.generation == noGeneration {
		return true
	}
	sent := time.Now()
	node, err := c.coordinator(m.s.ctx, groupCoordinator, m.s.cfg.Group)
	if err == nil {
		err = c.heartbeat(m.s.ctx, node, m.s.cfg.Group, who, min(c.cfg.RequestTimeout, c.cfg.SessionTimeout/3))
	}
	switch {
	case err == nil:
		m.extend(sent)
	case errors.Is(err, kafkago.RebalanceInProgress):
		m.extend(sent)
		if m.settledIn(round) {
			m.again()
		}
	case errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.IllegalGeneration), errors.Is(err, kafkago.FencedInstanceID):
		m.disowned(who, err)
	default:
		c.forgetCoordinator(groupCoordinator, m.s.cfg.Group)
		return false
	}
	return true
}

// settledIn says whether that joining is the last one, and done.
func (m *member) settledIn(round int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.round == round && !m.joining
}

// disowned does what it means that the coordinator does not know a membership.
// While joining that is for the joining to find out; false then, or if it was an
// earlier membership.
func (m *member) disowned(as identity, err error) bool {
	m.mu.Lock()
	if m.joining || m.who != as {
		m.mu.Unlock()
		return false
	}
	m.who.generation = noGeneration
	if errors.Is(err, kafkago.UnknownMemberId) {
		m.who.member = ""
	}
	m.mu.Unlock()
	err = fmt.Errorf("%w: %w", errExpelled, err)
	m.s.loseAll(err)
	if errors.Is(err, kafkago.FencedInstanceID) {
		m.s.fail(fmt.Errorf("kafka: group %q has another member of instance %q: %w", m.s.cfg.Group, as.instance, err))
		return true
	}
	m.s.log.Warn("kafka: lost all partitions", zap.Error(err))
	m.again()
	return true
}

// extend notes that the coordinator has answered what was sent at that time.
func (m *member) extend(sent time.Time) {
	left := time.Until(sent.Add(m.s.b.client.cfg.SessionTimeout))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lease == nil {
		m.lease = time.AfterFunc(left, m.expire)
		return
	}
	m.lease.Reset(left)
}

func (m *member) endLease() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lease != nil {
		m.lease.Stop()
	}
}

// expire ends what the group may have given to others by now.
func (m *member) expire() {
	m.mu.Lock()
	had := m.who.generation != noGeneration
	m.who.generation = noGeneration
	m.mu.Unlock()
	if had {
		m.s.loseAll(errLease)
		m.s.log.Warn("kafka: lost all partitions", zap.Error(errLease))
		m.again()
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
