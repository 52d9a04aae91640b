package chaos_test

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
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
	t.Parallel() // beside those that have other servers
	chaos.Run(t, "rabbitmq", rabbitmqTarget)
}

// TestRabbitMQ4 runs where there is a server of that version.
func TestRabbitMQ4(t *testing.T) {
	if os.Getenv("TEST_AMQP4_URL") == "" {
		t.Skip("TEST_AMQP4_URL is not set")
	}
	chaos.Run(t, "rabbitmq4", rabbitmq4Target)
}

func rabbitmqTarget() chaos.Target {
	return amqpTarget("TEST_AMQP_URL", "TEST_RABBITMQ_API_URL", "rabbitmq", "rabbitmqctl")
}

func rabbitmq4Target() chaos.Target {
	return amqpTarget("TEST_AMQP4_URL", "TEST_RABBITMQ4_API_URL", "rabbitmq4", "rabbitmqctl4")
}

// amqpTarget is a server of tests/services, with times that suit tests.
func amqpTarget(variable, management, service, ctl string) chaos.Target {
	server, err := url.Parse(cmp.Or(os.Getenv(variable), "amqp://127.0.0.1:5672"))
	if err != nil {
		panic(err)
	}
	target := chaos.Target{
		Open: func(ctx context.Context, address string) (brokers.Broker, error) {
			dsn := *server
			dsn.Host = address
			dsn.RawQuery = "heartbeat=2s&member_interval=300ms&failover_after=2s&request_timeout=2s&retry_max=500ms"
			return brokers.Open(ctx, dsn.String(), rabbitmq.Driver)
		},
		Delete: func(ctx context.Context, topic, group string) error {
			return deleteQueues(ctx, os.Getenv(management), topic, group)
		},
		Alarm: func(ctx context.Context) (mend func() error, err error) {
			watermark := func(ctx context.Context, share string) error {
				out, err := exec.CommandContext(ctx, os.Getenv("TEST_SERVICES"), ctl, "set_vm_memory_high_watermark", share).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%s: %w: %s", ctl, err, out)
				}
				return nil
			}
			return func() error { return watermark(context.WithoutCancel(ctx), "0.4") }, watermark(ctx, "0.0000001")
		},
		Address: server.Host,
		Service: service,
		Ripe:    7 * time.Second,
		Lease:   6 * time.Second,  // three heartbeats, until the server gives up who is silent
		Resume:  20 * time.Second, // a server that was killed takes 10 s to boot
		Limits:  chaos.Limits{AckLag: time.Second, Doubles: true},
	}
	if os.Getenv(management) == "" {
		target.Delete = nil
	}
	return target
}
