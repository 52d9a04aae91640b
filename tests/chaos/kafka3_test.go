package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/tests/chaos"
)

// A cluster of three nodes, whose topics have three replicas. Without CHAOS_LONG only
// leaders and coordinators that move in order.
func TestKafka3(t *testing.T) {
	needKafka3(t)
	chaos.Run(t, "kafka3", kafka3Target)
}

// The same in transactions, whose coordinators move with the nodes. Without
// CHAOS_LONG a node is killed that leads partitions, for members and publishers
// both.
func TestKafka3Transactional(t *testing.T) {
	needKafka3(t)
	chaos.Run(t, "kafka3 transactional", kafka3Transactional)
}

func needKafka3(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_KAFKA3_URL") == "" {
		t.Skip("TEST_KAFKA3_URL is not set")
	}
}

func kafka3Nodes() []string {
	return strings.Split(strings.TrimPrefix(os.Getenv("TEST_KAFKA3_URL"), "kafka://"), ",")
}

func kafka3Target() chaos.Target {
	target := chaos.Target{
		Open: func(ctx context.Context, _ string) (brokers.Broker, error) {
			return kafka.Open(ctx, kafka.Config{
				Seeds: kafka3Nodes(), Replicas: 3, TopicConfigs: map[string]string{"min.insync.replicas": "2"},
				SessionTimeout: 6 * time.Second, HeartbeatInterval: 300 * time.Millisecond,
				RequestTimeout: 2 * time.Second, MetadataInterval: time.Second,
			})
		},
		Service:     "kafka3",
		Leader:      kafka3Leader,
		Coordinator: kafka3Coordinator,
		Blows: map[string]func(ctx context.Context, topic, group string) (func(), error){
			"LeadersMoved": func(ctx context.Context, topic, _ string) (func(), error) { return nil, moveLeaders(ctx, topic) },
			"CoordinatorsMoved": func(ctx context.Context, _, _ string) (func(), error) {
				return nil, moveLeaders(ctx, "__consumer_offsets")
			},
		},
		Lease:  6 * time.Second,
		Resume: 40 * time.Second, // a controller is elected, and a killed node is let in again when its session has ended
		Limits: chaos.Limits{AckLag: 4 * time.Second},
	}
	if os.Getenv("CHAOS_LONG") == "" {
		target.Hold = time.Second
		target.Only = []string{"Blow/LeadersMoved", "Blow/CoordinatorsMoved"}
	}
	return target
}

func kafka3Transactional() chaos.Target {
	target := kafka3Target()
	target.Transactional = true
	target.Blows["TransactionCoordinatorsMoved"] = func(ctx context.Context, _, _ string) (func(), error) {
		return nil, moveLeaders(ctx, "__transaction_state")
	}
	if target.Only != nil {
		target.Only = []string{"Leader/Killed"}
	}
	return target
}

// ask sends a request to the cluster.
func ask[R any](ctx context.Context, do func(*kgo.Client) (R, error)) (answer R, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(kafka3Nodes()...))
	if err != nil {
		return answer, err
	}
	defer c.Close()
	return do(c)
}

func nodeName(id int32) string { return fmt.Sprint("kafka3-", id) }

// whole says what is not well in the cluster: a node that is hurt while another one
// has not caught up yet leaves too few replicas to publish to.
func whole(ctx context.Context) error {
	request := kmsg.NewPtrMetadataRequest() // of all topics
	answer, err := ask(ctx, func(c *kgo.Client) (*kmsg.MetadataResponse, error) { return request.RequestWith(ctx, c) })
	if err != nil {
		return err
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("partition %d of topic %q has %d of %d replicas in sync", p.Partition, *t.Topic, len(p.ISR), len(p.Replicas))
			}
		}
	}
	return nil
}

// kafka3Leader is the node that leads partition 0, once the cluster is whole.
func kafka3Leader(ctx context.Context, topic string) (string, error) {
	if err := whole(ctx); err != nil {
		return "", err
	}
	t, err := describe(ctx, topic)
	if err != nil {
		return "", err
	}
	if t.Partitions[0].Leader < 0 {
		return "", errors.New("partition 0 has no leader")
	}
	return nodeName(t.Partitions[0].Leader), nil
}

// describe asks for the partitions of a topic.
func describe(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	request := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = &topic
	request.Topics = append(request.Topics, of)
	answer, err := ask(ctx, func(c *kgo.Client) (*kmsg.MetadataResponse, error) { return request.RequestWith(ctx, c) })
	if err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	return answer.Topics[0], kerr.ErrorForCode(answer.Topics[0].ErrorCode)
}

// kafka3Coordinator is the node that coordinates a group, once the cluster is whole.
func kafka3Coordinator(ctx context.Context, group string) (string, error) {
	if err := whole(ctx); err != nil {
		return "", err
	}
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.CoordinatorKey, request.CoordinatorKeys = group, []string{group}
	answer, err := ask(ctx, func(c *kgo.Client) (*kmsg.FindCoordinatorResponse, error) { return request.RequestWith(ctx, c) })
	if err != nil {
		return "", err
	}
	if err := kerr.ErrorForCode(answer.Coordinators[0].ErrorCode); err != nil {
		return "", err
	}
	return nodeName(answer.Coordinators[0].NodeID), nil
}

// moveLeaders has the next replica of each partition lead it.
func moveLeaders(ctx context.Context, topic string) error {
	t, err := describe(ctx, topic)
	if err != nil {
		return err
	}
	assign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	to := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	to.Topic = topic
	elect := kmsg.NewPtrElectLeadersRequest()
	of := kmsg.NewElectLeadersRequestTopic()
	of.Topic = topic
	for _, p := range t.Partitions {
		partition := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		partition.Partition, partition.Replicas = p.Partition, append(p.Replicas[1:len(p.Replicas):len(p.Replicas)], p.Replicas[0])
		to.Partitions = append(to.Partitions, partition)
		of.Partitions = append(of.Partitions, p.Partition)
	}
	assign.Topics, elect.Topics = append(assign.Topics, to), append(elect.Topics, of)
	assigned, err := ask(ctx, func(c *kgo.Client) (*kmsg.AlterPartitionAssignmentsResponse, error) {
		return assign.RequestWith(ctx, c)
	})
	if err != nil {
		return err
	}
	for _, p := range assigned.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("replicas of %s/%d: %w", topic, p.Partition, err)
		}
	}
	elected, err := ask(ctx, func(c *kgo.Client) (*kmsg.ElectLeadersResponse, error) { return elect.RequestWith(ctx, c) })
	if err != nil {
		return err
	}
	for _, p := range elected.Topics[0].Partitions {
		err := kerr.ErrorForCode(p.ErrorCode)
		if err != nil && !errors.Is(err, kerr.ElectionNotNeeded) && !errors.Is(err, kerr.PreferredLeaderNotAvailable) {
			return fmt.Errorf("leader of %s/%d: %w", topic, p.Partition, err)
		}
	}
	return nil
}
