package chaos_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/tests/chaos"
)

func TestKafka(t *testing.T) {
	needKafka(t)
	t.Parallel() // beside those that have other servers
	chaos.Run(t, "kafka", kafkaTarget)
}

// Members publish in transactions, which are cut short in every way: what they
// published is there once. Without CHAOS_LONG only processes are killed; the rest is
// shown in short by the driver's own tests.
func TestKafkaTransactional(t *testing.T) {
	needKafka(t)
	chaos.Run(t, "kafka transactional", kafkaTransactional)
}

func kafkaTransactional() chaos.Target {
	target := kafkaTarget()
	target.Transactional = true
	if os.Getenv("CHAOS_LONG") == "" {
		target.Only = []string{"Members/Killed", "Members/AllKilled"}
	}
	return target
}

func needKafka(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_KAFKA_URL") == "" {
		if os.Getenv("REQUIRE_BROKERS") != "" {
			t.Fatal("TEST_KAFKA_URL is not set, and REQUIRE_BROKERS is")
		}
		t.Skip("TEST_KAFKA_URL is not set")
	}
}

// kafkaTarget is the one node of tests/services, with times that suit tests. It
// names its own address to clients; whatever that is, they stay behind the proxy
// that they were given.
func kafkaTarget() chaos.Target {
	address := "127.0.0.1:9092"
	if server, err := url.Parse(os.Getenv("TEST_KAFKA_URL")); err == nil && server.Host != "" {
		address = server.Host
	}
	return chaos.Target{
		Open: func(ctx context.Context, address string) (brokers.Broker, error) {
			return kafka.Open(ctx, kafka.Config{
				Seeds: []string{address},
				Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, address)
				},
				SessionTimeout: 3 * time.Second, HeartbeatInterval: 300 * time.Millisecond,
				RequestTimeout: 2 * time.Second, MetadataInterval: time.Second,
			})
		},
		Address: address,
		Service: "kafka",
		Lease:   3 * time.Second,
		Resume:  30 * time.Second, // a killed node is let in again when its session has ended
		Limits:  chaos.Limits{AckLag: 3 * time.Second},
	}
}
