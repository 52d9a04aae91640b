package kafka

import (
	"context"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
)

// Membership says in which group, and as which member of it, offsets are sent.
type Membership struct {
	Group string
	// Member and Generation are those of the membership, whose end then makes
	// SendOffsets fail. -1 and empty send the offsets whoever is a member.
	Member     string
	Generation int
	// Instance is that of a static member, else empty.
	Instance string
}

// GroupOffset is a position of a group.
type GroupOffset struct {
	Topic     string
	Partition int32
	// Next is the offset of the next message to read.
	Next int64
	// Metadata go with it.
	Metadata string
}

// SendOffsets adds positions of a consumer group to the transaction: they are
// committed with it. On an error the transaction can only be aborted; the
// generation of a membership that has ended is one.
func (t *Transactor) SendOffsets(ctx context.Context, m Membership, offsets ...GroupOffset) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.begun(); err != nil {
		return err
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := t.enlistGroup(ctx, m.Group); err != nil {
		return t.fail(err)
	}
	topics := map[string][]kafkago.TxnOffsetCommit{}
	for _, o := range offsets {
		topics[o.Topic] = append(topics[o.Topic], kafkago.TxnOffsetCommit{Partition: int(o.Partition), Offset: o.Next, Metadata: o.Metadata})
	}
	return t.fail(t.ask(ctx, groupCoordinator, m.Group, func() error {
		answer, err := t.c.api().TxnOffsetCommit(ctx, &kafkago.TxnOffsetCommitRequest{
			TransactionalID: t.id, ProducerID: int(t.producer.id), ProducerEpoch: int(t.producer.epoch),
			GroupID: m.Group, MemberID: m.Member, GenerationID: m.Generation, GroupInstanceID: m.Instance, Topics: topics,
		})
		if err != nil {
			return err
		}
		for topic, partitions := range answer.Topics {
			for _, p := range partitions {
				if p.Error != nil {
					return fmt.Errorf("kafka: offset of partition %d of topic %q for group %q: %w", p.Partition, topic, m.Group, p.Error)
				}
			}
		}
		return nil
	}))
}

// enlistGroup makes a group's offsets part of the transaction.
func (t *Transactor) enlistGroup(ctx context.Context, group string) error {
	if t.groups[group] {
		return nil
	}
	err := t.ask(ctx, transactionCoordinator, t.id, func() error {
		answer, err := t.c.api().AddOffsetsToTxn(ctx, &kafkago.AddOffsetsToTxnRequest{
			TransactionalID: t.id, ProducerID: int(t.producer.id), ProducerEpoch: int(t.producer.epoch), GroupID: group,
		})
		if err == nil {
			err = answer.Error
		}
		return err
	})
	// Even if the answer is lost the group may be part of it.
	t.groups[group] = true
	return err
}
