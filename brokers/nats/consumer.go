package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// errOtherKind says that the group's consumer was not made by this driver, or
// for another mode. No waiting mends it.
var errOtherKind = errors.New("nats: consumer of another kind")

// open returns the lane's consumer as it is, and makes it where it is missing:
// at the first message not acknowledged, if this member knows which that is.
func (l *lane) open(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	info, err := l.info(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) && l.seen() {
		l.linger(ctx)
		info, err = l.info(ctx)
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return info, err
	}
	return l.create(ctx)
}

// deletion is how long the server may take to delete a consumer. It forgets the
// name first and removes the files last: a consumer of the same name that is
// made in between loses its own files, and can then be neither changed nor
// stored.
const deletion = 250 * time.Millisecond

// linger waits until a deleted consumer has probably gone altogether.
func (l *lane) linger(ctx context.Context) {
	timer := time.NewTimer(deletion)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// info asks the server for the consumer.
func (l *lane) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := l.sub.b.request(ctx)
	defer cancel()
	c, err := l.sub.b.js.Consumer(ctx, l.topic.stream, l.consumer)
	return l.checked(c, err)
}

// checked is a consumer's state, if it is one of ours.
func (l *lane) checked(c jetstream.Consumer, err error) (*jetstream.ConsumerInfo, error) {
	if err != nil {
		if !unanswered(err) {
			l.sub.b.link.answered()
		}
		return nil, err
	}
	l.sub.b.link.answered()
	info := c.CachedInfo()
	cfg := &info.Config
	if have := filtersOf(cfg); !slices.Equal(have, l.filters) {
		return nil, fmt.Errorf("%w: %q of stream %q reads %q, not %q", errOtherKind, l.consumer, l.topic.stream, have, l.filters)
	}
	if cfg.AckPolicy != l.ackPolicy() || cfg.PriorityPolicy != jetstream.PriorityPolicyPinned ||
		!slices.Contains(cfg.PriorityGroups, pinGroup) {
		return nil, fmt.Errorf("%w: %q of stream %q", errOtherKind, l.consumer, l.topic.stream)
	}
	l.noteFloor(info.AckFloor.Stream)
	return info, nil
}

// create makes the consumer.
func (l *lane) create(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := l.sub.b.request(ctx)
	defer cancel()
	cfg := l.config()
	first := l.firstKnown()
	if first > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverAllPolicy, 0, nil // others cannot be reset
	}
	info, err := l.checked(l.sub.b.js.CreateConsumer(ctx, l.topic.stream, cfg))
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return l.info(ctx) // another member was first
	}
	if err != nil || first == 0 {
		return info, err
	}
	l.sub.log.Warn("nats: consumer was missing, made again",
		zap.String("topic", l.slot.Topic), zap.Int32("partition", l.slot.Partition), zap.Uint64("first", first))
	reset, err := l.sub.b.js.ResetConsumerToSequence(ctx, l.topic.stream, l.consumer, first)
	if err != nil {
		return nil, fmt.Errorf("nats: consumer was missing, and cannot be set to sequence %d: %w", first, err)
	}
	return reset.ConsumerInfo, nil
}

// config is the consumer as this member makes it.
func (l *lane) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:        l.consumer,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      l.ackPolicy(),
		AckWait:        l.sub.b.cfg.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  l.normal().maxAckPending,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{pinGroup},
		PinnedTTL:      l.sub.b.cfg.PinnedTTL,
		Metadata:       map[string]string{"troupe.group": l.sub.cfg.Group},
	}
	setFilters(&cfg, l.filters)
	if l.topic.mapped != nil && l.topic.mapped.Sequence > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, l.topic.mapped.Sequence
		return cfg
	}
	switch l.sub.cfg.Start {
	case brokers.StartEarliest:
	case brokers.StartLatest:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case brokers.StartAtTime:
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &l.sub.cfg.StartTime
	}
	return cfg
}

// prefix says whether only a prefix is acknowledged.
func (l *lane) prefix() bool { return l.sub.b.cfg.Acks == AcksPrefix }

func (l *lane) ackPolicy() jetstream.AckPolicy {
	if l.prefix() {
		return jetstream.AckAllPolicy
	}
	return jetstream.AckExplicitPolicy
}

// rewind has the server begin again behind the prefix that is acknowledged, where
// nothing else is.
func (l *lane) rewind(ctx context.Context) error {
	ctx, cancel := l.sub.b.request(ctx)
	defer cancel()
	_, err := l.sub.b.js.ResetConsumer(ctx, l.topic.stream, l.consumer)
	return err
}

// mode is how the consumer delivers.
type mode struct {
	ackWait       time.Duration
	maxAckPending int
}

// normal is the mode of an owner. Where only a prefix is acknowledged, the server
// cannot tell what is settled above, and the feed itself keeps to MaxUnsettled.
func (l *lane) normal() mode {
	if l.prefix() {
		return mode{ackWait: l.sub.b.cfg.AckWait, maxAckPending: -1}
	}
	return mode{ackWait: l.sub.b.cfg.AckWait, maxAckPending: l.sub.cfg.MaxUnsettled}
}

// shut is the mode in which nothing new is delivered as long as something is
// unacknowledged.
func (l *lane) shut() mode { return mode{ackWait: l.sub.b.cfg.AckWait, maxAckPending: 1} }

// exposing is the mode in which the server, after exposeAfter, takes everything
// unacknowledged for lost and delivers it again. Nothing new is delivered.
func (l *lane) exposing() mode { return mode{ackWait: time.Millisecond, maxAckPending: 1} }

// exposeAfter is how long the server takes for it. Its timer is 100 ms.
const exposeAfter = 150 * time.Millisecond

// set puts the consumer, which is as info says, into a mode.
func (l *lane) set(ctx context.Context, info *jetstream.ConsumerInfo, m mode) (*jetstream.ConsumerInfo, error) {
	if info.Config.AckWait == m.ackWait && info.Config.MaxAckPending == m.maxAckPending {
		return info, nil
	}
	ctx, cancel := l.sub.b.request(ctx)
	defer cancel()
	cfg := info.Config
	cfg.AckWait, cfg.MaxAckPending = m.ackWait, m.maxAckPending
	return l.checked(l.sub.b.js.UpdateConsumer(ctx, l.topic.stream, cfg))
}

// pinned is the pin that the server has given out, empty if none.
func pinned(info *jetstream.ConsumerInfo) string {
	for _, g := range info.PriorityGroups {
		if g.Group == pinGroup {
			return g.PinnedClientID
		}
	}
	return ""
}
