package chaos_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/tests/chaos"
)

// A cluster of three, whose topics and groups have three replicas.
func TestNATS3(t *testing.T) {
	if os.Getenv("TEST_NATS3_URL") == "" {
		if os.Getenv("REQUIRE_BROKERS") != "" {
			t.Fatal("TEST_NATS3_URL is not set, and REQUIRE_BROKERS is")
		}
		t.Skip("TEST_NATS3_URL is not set")
	}
	t.Parallel() // beside those that have other servers
	chaos.Run(t, "nats3", nats3Target)
}

func nats3Target() chaos.Target {
	nodes := os.Getenv("TEST_NATS3_URL")
	return chaos.Target{
		Open: func(ctx context.Context, _ string) (brokers.Broker, error) {
			return brokers.Open(ctx, nodes+natsOptions+"&replicas=3", nats.Driver)
		},
		Service: "nats3",
		Leader:  func(ctx context.Context, topic string) (string, error) { return leader(ctx, nodes, topic) },
		Forget: func(ctx context.Context, topic, group string) error {
			return deleteConsumers(ctx, nodes, topic, group)
		},
		Lease:      2 * time.Second,
		Redelivery: 5 * time.Second,
		Resume:     30 * time.Second, // with elections, each of which takes up to 9 s
		Limits:     chaos.Limits{AckLag: 2 * time.Second},
	}
}

// leader asks the cluster which node leads a stream.
func leader(ctx context.Context, nodes, topic string) (string, error) {
	nc, err := client.Connect(nodes)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return "", err
	}
	stream, err := js.Stream(ctx, topic)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(stream.CachedInfo().Cluster.Leader, "services-"), nil
}
