package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"net/url"
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

func TestNATS(t *testing.T) {
	if os.Getenv("TEST_NATS_URL") == "" {
		if os.Getenv("REQUIRE_BROKERS") != "" {
			t.Fatal("TEST_NATS_URL is not set, and REQUIRE_BROKERS is")
		}
		t.Skip("TEST_NATS_URL is not set")
	}
	t.Parallel() // beside those that have other servers
	chaos.Run(t, "nats", natsTarget)
}

// natsOptions are times that suit tests.
const natsOptions = "?pinned_ttl=2s&member_interval=300ms&failover_after=2s" +
	"&request_timeout=2s&publish_timeout=2s&reconnect_wait=500ms&ack_wait=5s"

// natsTarget is the server of tests/services.
func natsTarget() chaos.Target {
	server, err := url.Parse(cmp.Or(os.Getenv("TEST_NATS_URL"), client.DefaultURL))
	if err != nil {
		panic(err)
	}
	return chaos.Target{
		Open: func(ctx context.Context, address string) (brokers.Broker, error) {
			return brokers.Open(ctx, "nats://"+address+natsOptions, nats.Driver)
		},
		Address: server.Host,
		Service: "nats",
		Forget: func(ctx context.Context, topic, group string) error {
			return deleteConsumers(ctx, server.String(), topic, group)
		},
		Lease:      2 * time.Second,
		Redelivery: 5 * time.Second,
		Limits:     chaos.Limits{AckLag: 2 * time.Second},
	}
}

// deleteConsumers deletes the consumers of a group, as an operator would.
func deleteConsumers(ctx context.Context, server, topic, group string) error {
	nc, err := client.Connect(server)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, topic)
	if err != nil {
		return err
	}
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, group+"-") {
			err = errors.Join(err, stream.DeleteConsumer(ctx, name))
		}
	}
	return errors.Join(err, names.Err())
}
