package memory_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// Publish a message, and read it as a group of one member.
func Example() {
	ctx := context.Background()
	broker := memory.New(memory.Config{Partitions: 1})
	defer func() { must(broker.Close()) }()

	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	must(err)
	order := brokers.Message{Topic: "orders", Key: []byte("customer-7"), Payload: []byte("2 books")}
	_, err = publisher.Publish(ctx, order)
	must(err)

	subscription, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}})
	must(err)
	partition, err := subscription.Accept(ctx)
	must(err)
	messages, err := partition.Fetch(ctx, brokers.FetchLimit{Messages: 100})
	must(err)
	for _, m := range messages {
		fmt.Printf("%s ordered %s\n", m.Key, m.Payload)
		must(partition.Ack(brokers.Ack{UpTo: m.Offset}))
	}
	fmt.Println("not acknowledged:", broker.Server().Lag("billing", "orders"))
	// Output:
	// customer-7 ordered 2 books
	// not acknowledged: 0
}

// See how a program fares when the broker refuses what it publishes.
func ExampleServer_FailPublishes() {
	ctx := context.Background()
	broker := memory.New(memory.Config{})
	defer func() { must(broker.Close()) }()
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	must(err)

	broker.Server().FailPublishes(1, errors.New("disk full"))
	_, err = publisher.Publish(ctx, brokers.Message{Topic: "orders", Payload: []byte("2 books")})
	fmt.Println(err)
	_, err = publisher.Publish(ctx, brokers.Message{Topic: "orders", Payload: []byte("3 books")})
	fmt.Println(err)
	for _, m := range broker.Server().Messages("orders") {
		fmt.Printf("stored: %s\n", m.Payload)
	}
	// Output:
	// brokers: 1 of 1 messages not confirmed; #0 refused: disk full
	// <nil>
	// stored: 3 books
}

// See a partition pass from a member that dies to the one that is left.
func ExampleServer_Kill() {
	ctx := context.Background()
	first := memory.New(memory.Config{Partitions: 1})
	defer func() { must(first.Close()) }()
	server := first.Server()
	second := server.Connect()
	defer func() { must(second.Close()) }()
	must(first.EnsureTopic(ctx, brokers.TopicConfig{Name: "orders"}))

	join := func(b *memory.Broker, member string) brokers.Subscription {
		s, err := b.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}, Member: member})
		must(err)
		return s
	}
	ofA, ofB := join(first, "a"), join(second, "b")
	lost, err := ofA.Accept(ctx)
	must(err)
	must(server.Kill("billing", "a"))
	fmt.Println("a:", context.Cause(lost.Context()))
	won, err := ofB.Accept(ctx)
	must(err)
	fmt.Println("b has a later epoch:", won.Epoch() > lost.Epoch())
	// Output:
	// a: brokers: partition revoked: member "a" thrown out by the broker
	// b has a later epoch: true
}

// Wait until everything published has been handled.
func ExampleServer_Await() {
	ctx := context.Background()
	broker := memory.New(memory.Config{})
	defer func() { must(broker.Close()) }()
	server := broker.Server()
	err := server.Await(ctx, func() bool { return server.Lag("billing", "orders") == 0 })
	fmt.Println(err)
	// Output: <nil>
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
