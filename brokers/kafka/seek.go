package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

// ErrHasMembers says that a group's positions cannot be set while it has members:
// stop them first.
var ErrHasMembers = errors.New("kafka: the group has members")

// OffsetsAt returns of each partition of a topic the offset of the first message
// that is not older than a time, or where the next message will be if there is
// none: what SetPositions takes. The zero time is the oldest message. To handle a span
// of time again, set a group of its own to the offsets of its beginning, and have it
// stop in each partition before the offset of its end.
func (b *Broker) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]GroupOffset, error) {
	c := b.client
	t, err := c.metadata.topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	places := placesOf(map[string]int{topic: len(t.leaders)})
	var found, end map[place]int64
	err = c.retry(ctx, func() error {
		times := map[place]int64{}
		for _, p := range places {
			times[p] = earliestTime
			if !at.IsZero() {
				times[p] = at.Add(time.Millisecond - 1).UnixMilli()
			}
		}
		if found, err = c.listOffsets(ctx, false, times); err == nil {
			for _, p := range places {
				times[p] = latestTime
			}
			end, err = c.listOffsets(ctx, false, times)
		}
		if err != nil {
			c.metadata.refresh(ctx, topic) // what it finds out shows in the next try
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	offsets := make([]GroupOffset, len(places))
	for i, p := range places {
		offsets[i] = GroupOffset{Topic: topic, Partition: p.partition, Next: found[p]}
		if found[p] < 0 {
			offsets[i].Next = end[p]
		}
	}
	return offsets, nil
}

// SetPositions sets where a group goes on that has no members: back to handle
// messages again, or ahead to pass over what cannot be read. What was settled above
// the former positions is forgotten. A group that has members is [ErrHasMembers],
// and nothing is set.
func (b *Broker) SetPositions(ctx context.Context, group string, offsets ...GroupOffset) error {
	for _, o := range offsets {
		if o.Topic == "" || o.Partition < 0 || o.Next < 0 {
			return fmt.Errorf("%w: a GroupOffset of topic %q, partition %d, Next %d", brokers.ErrInvalid, o.Topic, o.Partition, o.Next)
		}
	}
	nobody := identity{generation: noGeneration}
	return b.client.atCoordinator(ctx, groupCoordinator, group, func() error {
		codes, err := b.client.commitOffsets(ctx, group, nobody, offsets)
		if err != nil {
			return err
		}
		for p, code := range codes {
			err := codeError(code)
			switch {
			case errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.IllegalGeneration), errors.Is(err, kafkago.RebalanceInProgress):
				return fmt.Errorf("%w: %q", ErrHasMembers, group)
			case err != nil:
				return positionError(group, p, err)
			}
		}
		return nil
	})
}
