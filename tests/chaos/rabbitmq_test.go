package chaos_test

import (
	"cmp"
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
	"github.com/troupe-go/troupe/tests/chaos"
)

func TestRabbitMQ(t *testing.T) {
	if os.Getenv("TEST_AMQP_URL") == "" {
		if os.Getenv("REQUIRE_BROKERS") != "" {
			t.Fatal("TEST_AMQP_URL is not set, and REQUIRE_BROKERS is")
		}
		t.Skip("TEST_AMQP_URL is not set")
	}
	chaos.Run(t, "rabbitmq", rabbitmqTarget)
}

// TestRabbitMQ4 runs where there is a server of that version.
func TestRabbitMQ4(t *testing.T) {
	if os.Getenv("TEST_AMQP4_URL") == "" {
		t.Skip("TEST_AMQP4_URL is not set")
	}
	chaos.Run(t, "rabbitmq4", rabbitmq4Target)
}

func rabbitmqTarget() chaos.Target  { return amqpTarget("TEST_AMQP_URL", "rabbitmq") }
func rabbitmq4Target() chaos.Target { return amqpTarget("TEST_AMQP4_URL", "rabbitmq4") }

// amqpTarget is a server of tests/services, with times that suit tests.
func amqpTarget(variable, service string) chaos.Target {
	server, err := url.Parse(cmp.Or(os.Getenv(variable), "amqp://127.0.0.1:5672"))
	if err != nil {
		panic(err)
	}
	return chaos.Target{
		Open: func(ctx context.Context, address string) (brokers.Broker, error) {
			dsn := *server
			dsn.Host = address
			dsn.RawQuery = "heartbeat=2s&member_interval=300ms&failover_after=2s&request_timeout=2s&retry_max=500ms"
			return brokers.Open(ctx, dsn.String(), rabbitmq.Driver)
		},
		Address: server.Host,
		Service: service,
		Ripe:    7 * time.Second,
		Lease:   6 * time.Second,  // three heartbeats, until the server gives up who is silent
		Resume:  20 * time.Second, // a server that was killed takes 10 s to boot
		Limits:  chaos.Limits{AckLag: time.Second, Doubles: true},
	}
}
