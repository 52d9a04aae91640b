package kafka

import (
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"go.uber.org/zap"
)

// errMoved is why an answer of the former coordinator is not waited for.
var errMoved = errors.New("the group has another coordinator")

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
	who, round, waits := m.who, m.round, m.asked
	m.mu.Unlock()
	if who.generation == noGeneration {
		return m.probe(waits)
	}
	sent := time.Now()
	node, err := c.coordinator(m.s.ctx, groupCoordinator, m.s.cfg.Group)
	if err == nil {
		if waits.node != node {
			waits.giveUp(errMoved)
		}
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
		waits.giveUp(err)
		return false
	}
	return true
}

// probe sees whether a coordinator lives whose answer to a joining is waited for, of
// which a heartbeat cannot tell: without a generation there are none. One that hangs
// would have this member wait for as long as a rebalance may take.
func (m *member) probe(waits asked) bool {
	if waits.line == nil {
		return true
	}
	c := m.s.b.client
	_, err := c.do(m.s.ctx, waits.node, &apiversions.Request{}, min(c.cfg.RequestTimeout, c.cfg.SessionTimeout/3))
	waits.giveUp(err)
	return err == nil
}

// giveUp ends the wait for a node that does not answer anything else either.
func (a asked) giveUp(err error) {
	var answered kafkago.Error
	if a.line != nil && err != nil && !errors.As(err, &answered) {
		a.line.fail(err)
	}
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
