package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Disconnect cuts the connection: epochs end with [brokers.ErrRevoked] and no
// warning, their partitions go to members on other connections, and publishers
// wait. Never to reconnect is how a process looks that was killed.
func (b *Broker) Disconnect() {
	s := b.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.setConnected(false) {
		return
	}
	b.reconnect = b.link.hold()
	for _, sub := range b.subs {
		if sub.joined {
			sub.lost(fmt.Errorf("%w: connection lost", brokers.ErrRevoked))
			sub.group.rebalance()
		}
	}
}

// Reconnect mends the connection. Subscriptions join again, and get a partition
// when the epoch that was lost has been closed.
func (b *Broker) Reconnect() {
	s := b.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.closed || !b.setConnected(true) {
		return
	}
	b.reconnect()
	for _, sub := range b.subs {
		if !sub.killed {
			sub.group.join(sub)
		}
	}
}

// setConnected says whether that is new. It needs Server.mu.
func (b *Broker) setConnected(is bool) bool {
	if b.connected == is {
		return false
	}
	b.connected, b.since = is, time.Now()
	return true
}

// forget takes a closing subscription off the list. It needs Server.mu.
func (b *Broker) forget(sub *subscription) {
	b.subs = slices.DeleteFunc(b.subs, func(s *subscription) bool { return s == sub })
}

// Health implements [brokers.Broker].
func (b *Broker) Health(context.Context) brokers.Health {
	s := b.server
	s.mu.Lock()
	defer s.mu.Unlock()
	h := brokers.Health{Connected: b.connected && !b.closed, Since: b.since}
	switch {
	case b.closed:
		h.Err = brokers.ErrClosed
	case !b.connected:
		h.Err = errDisconnected
	}
	for _, sub := range b.subs {
		h.Subscriptions = append(h.Subscriptions, sub.health())
	}
	return h
}

// health needs Server.mu.
func (s *subscription) health() brokers.SubscriptionHealth {
	h := brokers.SubscriptionHealth{Group: s.cfg.Group, Topics: slices.Clone(s.cfg.Topics)}
	for _, e := range s.accepted {
		if e.ctx.Err() == nil {
			h.Partitions = append(h.Partitions, brokers.PartitionHealth{
				Topic: e.topic, Partition: e.id, Epoch: e.number, Lag: e.source.lag(),
			})
		}
	}
	h.State, h.Err = s.state(len(h.Partitions))
	return h
}

func (s *subscription) state(owned int) (brokers.SubscriptionState, error) {
	switch {
	case s.killed:
		return brokers.StateConnecting, errKilled
	case !s.joined:
		return brokers.StateConnecting, errDisconnected
	case owned > 0:
		return brokers.StateOwning, nil
	case !slices.ContainsFunc(s.cfg.Topics, func(t string) bool { return s.conn.server.topics[t] != nil }):
		return brokers.StateNoPartitions, nil
	}
	return brokers.StateStandby, nil
}

// Close implements [brokers.Broker].
func (b *Broker) Close() error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	publishers, subs := b.shut()
	// What is cut short here gets its own report: that is what Close asks for.
	for _, p := range publishers {
		_ = p.Close(now)
	}
	for _, sub := range subs {
		_ = sub.Close(now)
	}
	return nil
}

// shut marks the connection closed and returns what is left to close.
func (b *Broker) shut() ([]*brokers.Publisher, []*subscription) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.gone)
	}
	return slices.Collect(maps.Values(b.senders)), slices.Clone(b.subs)
}
