package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteTopics is for the end of a test, when its context has ended.
func deleteTopics(tb testing.TB, seeds []string, names ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		tb.Error(err)
		return
	}
	defer c.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames, request.TimeoutMillis = names, 50_000
	for _, name := range names {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	if _, err := request.RequestWith(ctx, c); err != nil {
		tb.Error(err)
	}
}
