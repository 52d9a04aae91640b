package kafka_test

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(stageChildEnv); text != "" {
		beStageChild(text)
		return
	}
	flag.Parse()
	// They wait for the cluster, and not for a processor.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// serverURL is a real cluster's, by the name of its variable.
func serverURL(tb testing.TB, variable string) string {
	tb.Helper()
	url := os.Getenv(variable)
	if url == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			tb.Fatal(variable + " is not set")
		}
		tb.Skip(variable + " is not set")
	}
	return url
}

// seeds are the nodes that a URL of the test servers names.
func seeds(url string) []string {
	_, rest, _ := strings.Cut(url, "://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	return strings.Split(rest, ",")
}

// within is a context for what must happen soon.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// open opens a broker on the plain server and closes it with the test.
func open(tb testing.TB, change func(*kafka.Config)) *kafka.Broker {
	tb.Helper()
	cfg := kafka.Config{Seeds: seeds(serverURL(tb, "TEST_KAFKA_URL"))}
	if change != nil {
		change(&cfg)
	}
	b, err := kafka.Open(within(tb), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// newTopic makes a topic that is deleted with the test.
func newTopic(tb testing.TB, b *kafka.Broker, partitions int) string {
	tb.Helper()
	name := "topic-" + uuid.NewString()
	if err := b.EnsureTopic(within(tb), brokers.TopicConfig{Name: name, Partitions: partitions}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { deleteTopics(tb, seeds(serverURL(tb, "TEST_KAFKA_URL")), name) })
	return name
}

// reader is a client of franz-go, which judges what was published.
func reader(tb testing.TB, options ...kgo.Opt) *kgo.Client {
	tb.Helper()
	options = append([]kgo.Opt{kgo.SeedBrokers(seeds(serverURL(tb, "TEST_KAFKA_URL"))...)}, options...)
	c, err := kgo.NewClient(options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// readAll reads n records of a topic.
func readAll(tb testing.TB, topic string, n int, options ...kgo.Opt) []*kgo.Record {
	tb.Helper()
	c := reader(tb, append([]kgo.Opt{kgo.ConsumeTopics(topic)}, options...)...)
	var got []*kgo.Record
	for ctx := within(tb); len(got) < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			tb.Fatalf("read %d of %d records: %v", len(got), n, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}
