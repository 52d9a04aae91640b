package kafka

import (
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

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
	if m.line != nil && (m.line.failed() != nil || m.lineTo != node) {
		m.hangUp()
	}
	if m.line == nil {
		m.lineTo = node
		if m.line, err = c.connectAs(m.s.ctx, node, m.s.cfg.Member); err != nil {
			return nil, err
		}
	}
	patience := max(c.cfg.RebalanceTimeout, m.s.cfg.DrainTimeout) + c.cfg.SessionTimeout + c.cfg.RequestTimeout
	m.await(asked{m.line, node})
	defer m.await(asked{})
	return m.line.roundTrip(m.s.ctx, msg, patience)
}

// await notes which answer is waited for.
func (m *member) await(what asked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = what
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
