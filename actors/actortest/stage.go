package actortest

import (
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// stagingPartition is a partition of a subscription that is Transactional. What is
// staged is recorded as published when its message is acknowledged.
type stagingPartition struct {
	*partition
	stager brokers.Stager

	mu     sync.Mutex
	staged []staged // not acknowledged
}

type staged struct {
	offset  int64
	message brokers.Message
}

var _ brokers.Stager = (*stagingPartition)(nil)

// Stage implements brokers.Stager.
func (p *stagingPartition) Stage(offset int64, messages ...brokers.Message) error {
	if err := p.stager.Stage(offset, messages...); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range messages {
		p.staged = append(p.staged, staged{offset, messages[i].Clone()})
	}
	return nil
}

// Full implements brokers.Stager.
func (p *stagingPartition) Full() bool { return p.stager.Full() }

// Ack implements brokers.Partition.
func (p *stagingPartition) Ack(a brokers.Ack) error {
	if err := p.partition.Ack(a); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(p.staged, func(x, y staged) int { return int(x.offset - y.offset) })
	for len(p.staged) > 0 && p.staged[0].offset <= a.UpTo {
		m := &p.staged[0].message
		id := brokers.PartitionOf(m.Key, max(p.sub.broker.Server().Partitions(m.Topic), 1))
		p.sub.broker.scope.story.publishing(m)(brokers.Receipt{Topic: m.Topic, Partition: id, Offset: brokers.NoOffset}, nil)
		p.staged = p.staged[1:]
	}
	return nil
}
