package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"

	"github.com/troupe-go/troupe/brokers"
)

const (
	defaultPartitions = 12
	maxPartitions     = 100_000
)

// EnsureTopic implements [brokers.Broker]. What the cluster does not have for a
// moment, as a leader, it waits for.
func (b *Broker) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	if cfg.Partitions == 0 {
		cfg.Partitions = defaultPartitions
	}
	switch {
	case cfg.Name == "":
		return fmt.Errorf("%w: TopicConfig.Name is empty", brokers.ErrInvalid)
	case cfg.Partitions < 1 || cfg.Partitions > maxPartitions:
		return fmt.Errorf("%w: TopicConfig.Partitions is %d; want 1 to %d", brokers.ErrInvalid, cfg.Partitions, maxPartitions)
	}
	return b.client.retry(ctx, func() error { return b.client.ensure(ctx, cfg) })
}

// ensure makes or checks a topic, and fails for now while it is not ready.
func (c *client) ensure(ctx context.Context, cfg brokers.TopicConfig) error {
	err := c.metadata.refresh(ctx, cfg.Name)[cfg.Name]
	if errors.Is(err, brokers.ErrUnknownTopic) {
		if err = c.create(ctx, cfg); err == nil {
			return fmt.Errorf("kafka: topic %q is new: %w", cfg.Name, kafkago.LeaderNotAvailable)
		}
	}
	if err != nil {
		return err
	}
	t, _ := c.metadata.cached(cfg.Name)
	switch {
	case len(t.leaders) != cfg.Partitions:
		return fmt.Errorf("%w: TopicConfig.Partitions is %d, and topic %q has %d", brokers.ErrInvalid, cfg.Partitions, cfg.Name, len(t.leaders))
	case slices.Contains(t.leaders, noLeader):
		return fmt.Errorf("kafka: topic %q: %w", cfg.Name, kafkago.LeaderNotAvailable)
	}
	return c.ready(ctx, t)
}

// ready fails while a leader does not know yet that it is one, by asking each for
// the end of its log.
func (c *client) ready(ctx context.Context, t topic) error {
	wanted := make([]kafkago.OffsetRequest, len(t.leaders))
	for id := range wanted {
		wanted[id] = kafkago.LastOffsetOf(id)
	}
	listed, err := c.api().ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{t.name: wanted}})
	if err != nil {
		return err
	}
	for _, p := range listed.Topics[t.name] {
		if p.Error != nil {
			return fmt.Errorf("kafka: partition %d of topic %q: %w", p.Partition, t.name, p.Error)
		}
	}
	return nil
}

// create makes a topic. That somebody else has by now is no error.
func (c *client) create(ctx context.Context, cfg brokers.TopicConfig) error {
	wanted := createtopics.RequestTopic{
		Name: cfg.Name, NumPartitions: int32(cfg.Partitions), ReplicationFactor: int16(c.cfg.Replicas),
	}
	for _, name := range slices.Sorted(maps.Keys(c.cfg.TopicConfigs)) {
		wanted.Configs = append(wanted.Configs, createtopics.RequestConfig{Name: name, Value: c.cfg.TopicConfigs[name]})
	}
	const patience = 30 * time.Second // a busy cluster has files to make
	answer, err := c.do(ctx, c.metadata.controllerNode(), &createtopics.Request{
		Topics:    []createtopics.RequestTopic{wanted},
		TimeoutMs: int32(patience / time.Millisecond),
	}, patience+c.cfg.RequestTimeout)
	if err != nil {
		return err
	}
	for _, t := range answer.(*createtopics.Response).Topics {
		if err := creationError(t); err != nil {
			return err
		}
	}
	return nil
}

func creationError(t createtopics.ResponseTopic) error {
	switch err := kafkago.Error(t.ErrorCode); err {
	case 0, kafkago.TopicAlreadyExists:
		return nil
	case kafkago.InvalidTopic, kafkago.InvalidPartitionNumber, kafkago.InvalidReplicationFactor,
		kafkago.InvalidConfiguration, kafkago.InvalidRequest, kafkago.PolicyViolation:
		return fmt.Errorf("%w: topic %q: %w: %s", brokers.ErrInvalid, t.Name, err, t.ErrorMessage)
	default:
		return fmt.Errorf("kafka: topic %q: %w: %s", t.Name, err, t.ErrorMessage)
	}
}
