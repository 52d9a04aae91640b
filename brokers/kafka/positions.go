package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

// Times that stand for the ends of a log.
const (
	latestTime   int64 = -1
	earliestTime int64 = -2
)

// OffsetReset is what becomes of a group whose position the log does not have any
// more: retention was shorter than an outage, or the topic was made anew.
type OffsetReset uint8

const (
	// ResetEarliest goes on with the oldest message that is left. How many offsets
	// were lost shows in Health.
	ResetEarliest OffsetReset = iota
	// ResetLatest goes on behind the newest, and passes over all that there is.
	ResetLatest
	// ResetFail ends the subscription with an error that names topic and
	// partition. An operator has to choose: see Broker.SetPositions.
	ResetFail
)

// beginning is where an epoch begins.
type beginning struct {
	offset int64
	memo   memo
	spared offsets.Set // as in the memo
	end    int64       // of the log
}

// committedOffset is a position of a group as the cluster has it.
type committedOffset struct {
	offset   int64 // -1 if there is none
	metadata string
}

// committedOffsets asks for a group's positions.
func (c *client) committedOffsets(ctx context.Context, group string, places []place) (map[place]committedOffset, error) {
	request := &offsetfetch.Request{GroupID: group}
	for _, p := range places {
		last := len(request.Topics) - 1
		if last < 0 || request.Topics[last].Name != p.topic {
			request.Topics = append(request.Topics, offsetfetch.RequestTopic{Name: p.topic})
			last++
		}
		request.Topics[last].PartitionIndexes = append(request.Topics[last].PartitionIndexes, p.partition)
	}
	answer, err := c.deliver(ctx, request)
	if err != nil {
		return nil, err
	}
	response := answer.(*offsetfetch.Response)
	if err := codeError(response.ErrorCode); err != nil {
		return nil, fmt.Errorf("kafka: positions of group %q: %w", group, err)
	}
	found := map[place]committedOffset{}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := codeError(p.ErrorCode); err != nil {
				return nil, positionError(group, place{t.Name, p.PartitionIndex}, err)
			}
			found[place{t.Name, p.PartitionIndex}] = committedOffset{p.CommittedOffset, p.Metadata}
		}
	}
	return found, nil
}

// commitOffsets has a group's positions stored, in the name of a member, and returns
// what the coordinator says of each.
func (c *client) commitOffsets(ctx context.Context, group string, who identity, offsets []GroupOffset) (map[place]int16, error) {
	request := &offsetcommit.Request{GroupID: group, GenerationID: who.generation, MemberID: who.member, GroupInstanceID: who.instance}
	offsets = slices.SortedStableFunc(slices.Values(offsets), func(a, b GroupOffset) int { return strings.Compare(a.Topic, b.Topic) })
	for _, o := range offsets {
		last := len(request.Topics) - 1
		if last < 0 || request.Topics[last].Name != o.Topic {
			request.Topics = append(request.Topics, offsetcommit.RequestTopic{Name: o.Topic})
			last++
		}
		request.Topics[last].Partitions = append(request.Topics[last].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: o.Partition, CommittedOffset: o.Next, CommittedLeaderEpoch: -1, CommittedMetadata: o.Metadata,
		})
	}
	answer, err := c.deliver(ctx, request)
	if err != nil {
		return nil, err
	}
	codes := map[place]int16{}
	for _, t := range answer.(*offsetcommit.Response).Topics {
		for _, p := range t.Partitions {
			codes[place{t.Name, p.PartitionIndex}] = p.ErrorCode
		}
	}
	return codes, nil
}

// positionError is what was wrong with a group's position.
func positionError(group string, p place, err error) error {
	return fmt.Errorf("kafka: position of group %q in partition %d of topic %q: %w", group, p.partition, p.topic, err)
}

// listOffsets asks the leaders for offsets: of the first message that is not older
// than a time in milliseconds, or of an end of the log. -1 stands for none.
func (c *client) listOffsets(ctx context.Context, committed bool, times map[place]int64) (map[place]int64, error) {
	requests := map[int32]*listoffsets.Request{}
	for p, at := range times {
		t, _ := c.metadata.cached(p.topic)
		if int(p.partition) >= len(t.leaders) || t.leaders[p.partition] == noLeader {
			return nil, fmt.Errorf("partition %d of topic %q: %w", p.partition, p.topic, kafkago.LeaderNotAvailable)
		}
		leader := t.leaders[p.partition]
		if requests[leader] == nil {
			requests[leader] = &listoffsets.Request{ReplicaID: -1}
			if committed {
				requests[leader].IsolationLevel = 1
			}
		}
		requests[leader].Topics = append(requests[leader].Topics, listoffsets.RequestTopic{
			Topic:      p.topic,
			Partitions: []listoffsets.RequestPartition{{Partition: p.partition, CurrentLeaderEpoch: -1, Timestamp: at}},
		})
	}
	found := map[place]int64{}
	for leader, request := range requests {
		answer, err := c.do(ctx, leader, request, c.cfg.RequestTimeout)
		if err != nil {
			return nil, err
		}
		for _, t := range answer.(*listoffsets.Response).Topics {
			for _, p := range t.Partitions {
				if err := codeError(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("kafka: offsets of partition %d of topic %q: %w", p.Partition, t.Topic, err)
				}
				found[place{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return found, nil
}

// ends asks for the first offset and the one after the last of logs.
func (c *client) ends(ctx context.Context, committed bool, places []place) (first, end map[place]int64, err error) {
	times := map[place]int64{}
	for _, p := range places {
		times[p] = earliestTime
	}
	if first, err = c.listOffsets(ctx, committed, times); err != nil {
		return nil, nil, err
	}
	for _, p := range places {
		times[p] = latestTime
	}
	end, err = c.listOffsets(ctx, committed, times)
	return first, end, err
}

// beginnings finds out where epochs begin: at the group's position or, where there
// is none or it is not in the log any more, where the config says. chosen are
// those which the cluster does not have yet as the group's position.
func (s *subscription) beginnings(ctx context.Context, places []place) (begin map[place]beginning, chosen []place, err error) {
	c := s.b.client
	positions, err := c.committedOffsets(ctx, s.cfg.Group, s.neighbours(places))
	if err != nil {
		return nil, nil, err
	}
	first, end, err := c.ends(ctx, s.committed(), places)
	if err != nil {
		return nil, nil, err
	}
	begin = map[place]beginning{}
	var fresh []place
	for _, p := range places {
		at, ok := positions[p]
		switch {
		case !ok || at.offset < 0:
			fresh = append(fresh, p)
		case at.offset < first[p] || at.offset > end[p] && s.beyond(ctx, p, at.offset):
			begin[p], err = s.reset(p, at, first[p], end[p])
			chosen = append(chosen, p)
		default:
			begin[p] = resume(at, end[p])
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if len(fresh) > 0 {
		chosen = append(chosen, fresh...)
		err = s.begin(ctx, fresh, positions, first, end, begin)
	}
	return begin, chosen, err
}

// beyond says whether a position lies behind the end of the log, and not just
// behind what is committed of it.
func (s *subscription) beyond(ctx context.Context, p place, offset int64) bool {
	end, err := s.b.client.listOffsets(ctx, false, map[place]int64{p: latestTime})
	return err == nil && offset > end[p]
}

// neighbours are all partitions of the topics of places: what their positions say
// tells how old the group is.
func (s *subscription) neighbours(places []place) []place {
	counts := map[string]int{}
	for _, p := range places {
		counts[p.topic] = max(s.Partitions(p.topic), int(p.partition)+1)
	}
	return placesOf(counts)
}

// resume is the beginning at a group's position.
func resume(at committedOffset, end int64) beginning {
	b := beginning{offset: at.offset, end: end}
	if m, ok := readMemo(at.metadata, at.offset); ok {
		b.memo, b.spared = m, m.settled.Clone()
	}
	return b
}

// reset is the beginning of a group whose position is not in the log.
func (s *subscription) reset(p place, at committedOffset, first, end int64) (beginning, error) {
	fault := fmt.Errorf("kafka: group %q has position %d in partition %d of topic %q, whose log goes from %d to %d",
		s.cfg.Group, at.offset, p.partition, p.topic, first, end)
	b := beginning{offset: first, end: end}
	switch s.b.client.cfg.OffsetReset {
	case ResetEarliest:
	case ResetLatest:
		b.offset = end
	case ResetFail:
		return b, &permanentError{fault}
	}
	if m, ok := readMemo(at.metadata, at.offset); ok {
		b.memo.partitions = m.partitions
	}
	b.memo.settled.Cut(b.offset)
	s.pass(p, fmt.Errorf("%w: goes on at %d", fault, b.offset))
	return b, nil
}

// begin chooses where a group begins in partitions in which it has no position.
func (s *subscription) begin(ctx context.Context, fresh []place, positions map[place]committedOffset, first, end map[place]int64, begin map[place]beginning) error {
	var since map[place]int64
	if s.cfg.Start == brokers.StartAtTime {
		times := map[place]int64{}
		for _, p := range fresh {
			times[p] = s.cfg.StartTime.Add(time.Millisecond - 1).UnixMilli() // not older: up
		}
		var err error
		if since, err = s.b.client.listOffsets(ctx, s.committed(), times); err != nil {
			return err
		}
	}
	for _, p := range fresh {
		known := s.knownPartitions(p.topic, positions)
		b := beginning{offset: first[p], end: end[p], memo: memo{partitions: known}}
		switch {
		case s.cfg.Start == brokers.StartLatest && int(p.partition) < known:
			b.offset = end[p]
		case s.cfg.Start == brokers.StartAtTime && since[p] >= 0:
			b.offset = since[p]
		case s.cfg.Start == brokers.StartAtTime:
			b.offset = end[p]
		}
		b.memo.settled.Cut(b.offset)
		begin[p] = b
	}
	return nil
}

// knownPartitions is how many partitions a topic had when the group first met it:
// as its positions say, or now. Partitions that came later are read from their
// beginning, whatever Start is: all that is in them was published after the group
// had joined.
func (s *subscription) knownPartitions(topic string, positions map[place]committedOffset) int {
	known := s.Partitions(topic)
	if s.metLate(topic) {
		known = 0
	}
	for p, at := range positions {
		if p.topic != topic || at.offset < 0 {
			continue
		}
		if m, ok := readMemo(at.metadata, at.offset); ok {
			known = min(known, m.partitions)
		}
	}
	return known
}
