package kafka

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

// testClient is a client of the plain server.
func testClient(t *testing.T) *client {
	t.Helper()
	url := os.Getenv("TEST_KAFKA_URL")
	if url == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal("TEST_KAFKA_URL is not set")
		}
		t.Skip("TEST_KAFKA_URL is not set")
	}
	c, err := newClient(Config{Seeds: strings.Split(strings.TrimPrefix(url, "kafka://"), ",")}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// The client carries the requests of kafka-go's to leaders, coordinators and the
// controller.
func TestClientRoutes(t *testing.T) {
	c := testClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	name, group := "topic-"+uuid.NewString(), "group-"+uuid.NewString()
	if err := c.retry(ctx, func() error { return c.ensure(ctx, brokers.TopicConfig{Name: name, Partitions: 3}) }); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := c.api().DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{name}}); err != nil {
			t.Error(err)
		}
	}()
	var listed *kafkago.ListOffsetsResponse
	if err := c.retry(ctx, func() (err error) {
		listed, err = c.api().ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{
			name: {kafkago.LastOffsetOf(0), kafkago.LastOffsetOf(2)},
		}})
		if err == nil {
			err = errors.Join(listed.Topics[name][0].Error, listed.Topics[name][1].Error)
		}
		return err
	}); err != nil || len(listed.Topics[name]) != 2 {
		t.Fatalf("offsets %+v, %v", listed, err)
	}
	if err := c.atCoordinator(ctx, groupCoordinator, group, func() error {
		done, err := c.api().OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
			GroupID: group, GenerationID: -1, Topics: map[string][]kafkago.OffsetCommit{name: {{Partition: 1, Offset: 7}}},
		})
		if err == nil {
			err = done.Topics[name][0].Error
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got, err := c.api().OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{name: {1}}})
	if err != nil || got.Topics[name][0].CommittedOffset != 7 {
		t.Fatalf("committed %+v, %v; want 7", got, err)
	}
}

func TestTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{kafkago.NotLeaderForPartition, true},
		{kafkago.GroupCoordinatorNotAvailable, true},
		{kafkago.GroupLoadInProgress, true},
		{kafkago.ConcurrentTransactions, true},
		{errUnknownNode, true},
		{&brokers.OpenError{Err: errors.New("refused")}, true},
		{kafkago.TopicAuthorizationFailed, false},
		{kafkago.InvalidTopic, false},
		{brokers.ErrUnknownTopic, false},
		{context.Canceled, false},
	} {
		if got := transient(c.err); got != c.want {
			t.Errorf("transient(%v) is %v", c.err, got)
		}
	}
}
