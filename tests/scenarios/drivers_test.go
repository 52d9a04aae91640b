// Package scenarios holds situations that broke other systems, each run on every
// broker that it can concern.
package scenarios

import (
	"context"
	"os"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// targets are the brokers: a DSN, or the variable that has it.
var targets = []struct {
	name, dsn, variable string
}{
	{name: "memory", dsn: "memory://"},
	{name: "embedded", dsn: "nats://embedded?dir="},
	{name: "nats", variable: "TEST_NATS_URL"},
	{name: "kafka", variable: "TEST_KAFKA_URL"},
	{name: "rabbitmq", variable: "TEST_AMQP_URL"},
}

// onEach runs f with each broker.
func onEach(t *testing.T, f func(t *testing.T, broker brokers.Broker)) {
	t.Helper()
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			dsn := target.dsn
			switch {
			case target.name == "embedded":
				dsn += t.TempDir()
			case target.variable != "":
				if dsn = os.Getenv(target.variable); dsn == "" {
					if os.Getenv("REQUIRE_BROKERS") == "1" {
						t.Fatal(target.variable + " is not set, and REQUIRE_BROKERS is")
					}
					t.Skip(target.variable + " is not set")
				}
			}
			broker, err := brokers.Open(t.Context(), dsn, memory.Driver, nats.Driver, embedded.Driver, kafka.Driver, rabbitmq.Driver)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := broker.Close(); err != nil {
					t.Error(err)
				}
			})
			f(t, broker)
		})
	}
}

// topic makes one of a single partition, of a name of its own.
func topic(ctx context.Context, t *testing.T, broker brokers.Broker, groups ...string) string {
	t.Helper()
	name := "scenario-" + uuid.NewString()
	if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: name, Partitions: 1, Groups: groups}); err != nil {
		t.Fatal(err)
	}
	return name
}
