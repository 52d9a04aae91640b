package embedded_test

import (
	"context"
	"fmt"
	"os"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

// A broker in this process, that keeps its messages in a directory.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	broker, err := brokers.Open(ctx, "nats://embedded?sync=always&dir="+dir, embedded.Driver)
	if err != nil {
		panic(err)
	}
	defer func() { _ = broker.Close() }()
	if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: "orders", Partitions: 1}); err != nil {
		panic(err)
	}

	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}
	_, err = publisher.Publish(ctx,
		brokers.Message{Topic: "orders", Key: []byte("customer-7"), Payload: []byte("placed")},
		brokers.Message{Topic: "orders", Key: []byte("customer-7"), Payload: []byte("paid")},
	)
	if err != nil {
		panic(err)
	}

	billing, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		panic(err)
	}
	partition, err := billing.Accept(ctx)
	if err != nil {
		panic(err)
	}
	for seen := 0; seen < 2; {
		messages, err := partition.Fetch(ctx, brokers.FetchLimit{Messages: 100})
		if err != nil {
			panic(err)
		}
		for _, m := range messages {
			fmt.Printf("%s: %s\n", m.Key, m.Payload)
			seen++
		}
		if err := partition.Ack(brokers.Ack{UpTo: messages[len(messages)-1].Offset}); err != nil {
			panic(err)
		}
	}
	if err := partition.Close(ctx); err != nil {
		panic(err)
	}
	// Output:
	// customer-7: placed
	// customer-7: paid
}
