package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	api "github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/troupe-go/troupe/brokers"
)

// noLeader is the leader of a partition that has none for now.
const noLeader int32 = -1

// topic is what the cluster says of a topic.
type topic struct {
	name    string
	leaders []int32 // by partition
}

// metadata is what is known of the cluster: its nodes, and the topics that were
// asked for.
type metadata struct {
	c *client
	// asking is held by who asks the cluster for a topic, so that a crowd does
	// not ask for the same.
	asking chan struct{}

	mu         sync.Mutex
	nodes      map[int32]protocol.Broker
	controller int32
	topics     map[string]topic
	latest     atomic.Pointer[topic] // one of topics, the one asked for last: most publishers have one
}

func newMetadata(c *client) *metadata {
	return &metadata{
		c:      c,
		asking: make(chan struct{}, 1),
		nodes:  map[int32]protocol.Broker{},
		topics: map[string]topic{},
	}
}

// cached returns a topic that was asked for before.
func (m *metadata) cached(name string) (topic, bool) {
	if t := m.latest.Load(); t != nil && t.name == name {
		return *t, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.topics[name]
	if ok {
		m.latest.Store(&t)
	}
	return t, ok
}

// names are the topics that are known.
func (m *metadata) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.topics))
	for name := range m.topics {
		names = append(names, name)
	}
	return names
}

// topic returns a topic, from the cluster if need be, for which it waits until
// ctx ends. [brokers.ErrUnknownTopic] says that the cluster has none of that name.
func (m *metadata) topic(ctx context.Context, name string) (topic, error) {
	if t, ok := m.cached(name); ok {
		return t, nil
	}
	select {
	case m.asking <- struct{}{}:
		defer func() { <-m.asking }()
	case <-ctx.Done():
		return topic{}, context.Cause(ctx)
	}
	if t, ok := m.cached(name); ok {
		return t, nil
	}
	var t topic
	err := m.c.retry(ctx, func() (err error) {
		t, err = m.fetch(ctx, name)
		return err
	})
	return t, err
}

// certain is how often a topic must be unknown until it is: a node may not have
// heard of it yet.
const certain = 3

// fetch asks the cluster for a topic.
func (m *metadata) fetch(ctx context.Context, name string) (topic, error) {
	var err error
	for failures := range certain {
		if failures > 0 && !m.c.pause(ctx, failures) {
			break
		}
		if err = m.refresh(ctx, name)[name]; !errors.Is(err, brokers.ErrUnknownTopic) {
			break
		}
	}
	t, _ := m.cached(name)
	return t, err
}

// refresh asks the cluster for topics, without waiting for what may pass, and
// returns what is wrong with each. Without names it asks for the nodes only, and
// what is wrong is under the empty name.
func (m *metadata) refresh(ctx context.Context, names ...string) map[string]error {
	answer, err := m.c.do(ctx, anyNode, request(names), m.c.cfg.RequestTimeout)
	if err != nil {
		faults := map[string]error{"": err}
		for _, name := range names {
			faults[name] = err
		}
		return faults
	}
	return m.learn(answer.(*api.Response))
}

// refreshOn asks for all known topics on a connection.
func (m *metadata) refreshOn(ctx context.Context, x *conn) error {
	answer, err := x.roundTrip(ctx, request(m.names()), m.c.cfg.RequestTimeout)
	if err == nil {
		m.learn(answer.(*api.Response))
	}
	return err
}

// request asks for topics of these names; none are not all.
func request(names []string) *api.Request {
	if names == nil {
		names = []string{}
	}
	return &api.Request{TopicNames: names}
}

// learn takes over an answer of the cluster, and returns what is wrong with its
// topics.
func (m *metadata) learn(answer *api.Response) map[string]error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest.Store(nil)
	m.controller = answer.ControllerID
	for _, b := range answer.Brokers {
		m.nodes[b.NodeID] = protocol.Broker{ID: b.NodeID, Host: b.Host, Port: b.Port, Rack: b.Rack}
	}
	faults := map[string]error{}
	for i := range answer.Topics {
		t := &answer.Topics[i]
		if err := topicError(t.Name, t.ErrorCode); err != nil {
			faults[t.Name] = err
			if errors.Is(err, brokers.ErrUnknownTopic) {
				delete(m.topics, t.Name)
			}
			continue
		}
		m.topics[t.Name] = topic{name: t.Name, leaders: leaders(t.Partitions)}
	}
	return faults
}

func topicError(name string, code int16) error {
	switch err := kafkago.Error(code); err {
	case 0:
		return nil
	case kafkago.UnknownTopicOrPartition:
		return fmt.Errorf("%w: %q", brokers.ErrUnknownTopic, name)
	case kafkago.InvalidTopic:
		return fmt.Errorf("%w: topic name %q: %w", brokers.ErrInvalid, name, err)
	default:
		return fmt.Errorf("kafka: topic %q: %w", name, err)
	}
}

func leaders(partitions []api.ResponsePartition) []int32 {
	out := make([]int32, len(partitions))
	for i := range partitions {
		p := &partitions[i]
		if id := int(p.PartitionIndex); id < 0 || id >= len(out) {
			continue
		}
		if out[p.PartitionIndex] = p.LeaderID; p.ErrorCode != 0 && p.LeaderID < 0 {
			out[p.PartitionIndex] = noLeader
		}
	}
	return out
}

// noteNode makes a node known.
func (m *metadata) noteNode(id int32, host string, port int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[id] = protocol.Broker{ID: id, Host: host, Port: port}
}

// addresses are those at which a node may be reached; for anyNode, all that are
// known, in an order by chance, and the seeds last.
func (m *metadata) addresses(node int32) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if node != anyNode {
		b, ok := m.nodes[node]
		if !ok {
			return nil, fmt.Errorf("%w: %d", errUnknownNode, node)
		}
		return []string{address(b)}, nil
	}
	var known []string
	for _, b := range m.nodes {
		known = append(known, address(b))
	}
	seeds := slices.DeleteFunc(shuffled(m.c.cfg.Seeds), func(s string) bool { return slices.Contains(known, s) })
	return append(shuffled(known), seeds...), nil
}

func address(b protocol.Broker) string { return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) }

// layout is what is known, as kafka-go's requests want it for finding the nodes
// that they are for.
func (m *metadata) layout() protocol.Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	cluster := protocol.Cluster{
		Controller: m.controller,
		Brokers:    make(map[int32]protocol.Broker, len(m.nodes)),
		Topics:     make(map[string]protocol.Topic, len(m.topics)),
	}
	for id, b := range m.nodes {
		cluster.Brokers[id] = b
	}
	for name, t := range m.topics {
		partitions := make(map[int32]protocol.Partition, len(t.leaders))
		for id, leader := range t.leaders {
			partitions[int32(id)] = protocol.Partition{ID: int32(id), Leader: leader}
		}
		cluster.Topics[name] = protocol.Topic{Name: name, Partitions: partitions}
	}
	return cluster
}

// controllerNode is the node that makes topics.
func (m *metadata) controllerNode() int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.controller
}

// counts asks the cluster how many partitions topics have; those that do not exist
// are left out.
func (m *metadata) counts(ctx context.Context, topics map[string]bool) (map[string]int, error) {
	names := slices.Sorted(maps.Keys(topics))
	for name, err := range m.refresh(ctx, names...) {
		if !errors.Is(err, brokers.ErrUnknownTopic) {
			return nil, fmt.Errorf("topic %q: %w", name, err)
		}
	}
	return m.known(nil, names), nil
}

// known is how many partitions topics have, as far as is known, of two lists.
func (m *metadata) known(also map[string]int, topics []string) map[string]int {
	counts := map[string]int{}
	for _, name := range slices.AppendSeq(slices.Clone(topics), maps.Keys(also)) {
		if t, ok := m.cached(name); ok {
			counts[name] = len(t.leaders)
		}
	}
	return counts
}
