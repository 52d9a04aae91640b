package kafka_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// services does something to the test servers, which only a test may that has
// them for itself.
func services(t *testing.T, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", append([]string{os.Getenv("TEST_SERVICES")}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("services %v: %v\n%s", arguments, err, out)
	}
}

// Nodes of a cluster are killed while it is published to, and their leaders move:
// what was published is stored once and in order.
func TestNodesKilled(t *testing.T) {
	kafka3 := ownServers(t, "TEST_KAFKA3_URL")
	publishThrough(t, kafka.Config{Seeds: kafka3, Replicas: 3, TopicConfigs: map[string]string{"min.insync.replicas": "2"}}, func(goOn func(int64)) {
		for _, node := range []string{"kafka3-1", "kafka3-2"} {
			services(t, "kill", node)
			goOn(1500) // more than lay in the buffer
			services(t, "start", node)
			goOn(500)
		}
	})
}

// The only node is killed and started again: the same holds, and what members copy
// in transactions meanwhile is there once.
func TestServerKilled(t *testing.T) {
	server := ownServers(t, "TEST_KAFKA_URL")
	publishThrough(t, kafka.Config{Seeds: server}, func(goOn func(int64)) {
		copyThrough(t, 3, func(t *testing.T, join func() (*copier, *line.Line), goOnCopying func(int64)) {
			one, _ := join()
			two, _ := join()
			goOnCopying(300)
			services(t, "kill", "kafka")
			services(t, "start", "kafka")
			goOn(1500)
			goOnCopying(300)
			one.stop(t)
			two.stop(t)
		})
	})
}

// ownServers are the nodes of a cluster that the test may kill.
func ownServers(t *testing.T, variable string) []string {
	t.Helper()
	for _, needed := range []string{"TEST_SERVICES", variable} {
		if os.Getenv(needed) == "" {
			t.Skip(needed + " is not set")
		}
	}
	return seeds(os.Getenv(variable))
}

// publishThrough publishes while blow does something to the cluster. blow waits by
// goOn until that many more messages are confirmed.
func publishThrough(t *testing.T, cfg kafka.Config, blow func(goOn func(int64))) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cfg.RequestTimeout = 5 * time.Second
	b, err := kafka.Open(ctx, cfg)
	ok(t, err)
	defer func() { _ = b.Close() }()
	topic := "topic-" + uuid.NewString()
	ok(t, b.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: 6}))
	defer deleteTopics(t, cfg.Seeds, topic)

	p := publisher(t, b, brokers.PublisherConfig{MaxBuffered: 1000, DeliveryTimeout: -1})
	const keys = 30
	var (
		confirmed atomic.Int64
		failed    atomic.Pointer[error]
		sent      int
		stop      = make(chan struct{})
		stopped   = make(chan struct{})
	)
	go func() {
		defer close(stopped)
		for ; ; sent++ {
			select {
			case <-stop:
				return
			default:
			}
			m := messages(topic, 1, 1)[0]
			m.Key, m.Payload = strconv.AppendInt([]byte("key-"), int64(sent%keys), 10), strconv.AppendInt(nil, int64(sent), 10)
			if err := p.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
				if confirmed.Add(1); err != nil {
					failed.Store(&err)
				}
			}); err != nil {
				failed.Store(&err)
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	goOn := func(n int64) {
		t.Helper()
		poll := time.NewTicker(5 * time.Millisecond)
		defer poll.Stop()
		for until := confirmed.Load() + n; confirmed.Load() < until; {
			select {
			case <-poll.C:
			case <-ctx.Done():
				t.Fatalf("%d messages confirmed; want %d", confirmed.Load(), until)
			}
		}
	}
	goOn(500)
	blow(goOn)
	close(stop)
	<-stopped
	ok(t, p.Close(ctx))
	if err := failed.Load(); err != nil {
		t.Fatalf("a message was not confirmed: %v", *err)
	}
	inOrder(t, cfg.Seeds, topic, sent, keys)
}

// inOrder reads n records that are numbered over keys.
func inOrder(t *testing.T, nodes []string, topic string, n, keys int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(nodes...), kgo.ConsumeTopics(topic))
	ok(t, err)
	defer c.Close()
	next := map[string]int{}
	for read := 0; read < n; {
		fetches := c.PollFetches(within(t))
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %d of %d records: %v", read, n, err)
		}
		for _, r := range fetches.Records() {
			number, err := strconv.Atoi(string(r.Value))
			ok(t, err)
			if want := next[string(r.Key)]; number/keys != want {
				t.Fatalf("key %s: message %d; want number %d of the key", r.Key, number, want)
			}
			next[string(r.Key)]++
			read++
		}
	}
}
