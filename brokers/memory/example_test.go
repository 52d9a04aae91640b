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
	defer broker.Close()

	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}
	order := brokers.Message{Topic: "orders", Key: []byte("customer-7"), Payload: []byte("2 books")}
	if _, err := publisher.Publish(ctx, order); err != nil {
		panic(err)
	}

	subscription, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		panic(err)
	}
	partition, err := subscription.Accept(ctx)
	if err != nil {
		panic(err)
	}
	messages, err := partition.Fetch(ctx, brokers.FetchLimit{Messages: 100})
	if err != nil {
		panic(err)
	}
	for _, m := range messages {
		fmt.Printf("%s ordered %s\n", m.Key, m.Payload)
		if err := partition.Ack(brokers.Ack{UpTo: m.Offset}); err != nil {
			panic(err)
		}
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
	defer broker.Close()
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}

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
	defer first.Close()
	server := first.Server()
	second := server.Connect()
	defer second.Close()
	if err := first.EnsureTopic(ctx, brokers.TopicConfig{Name: "orders"}); err != nil {
		panic(err)
	}

	join := func(b *memory.Broker, member string) brokers.Subscription {
		s, err := b.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}, Member: member})
		if err != nil {
			panic(err)
		}
		return s
	}
	ofA, ofB := join(first, "a"), join(second, "b")
	lost, err := ofA.Accept(ctx)
	if err != nil {
		panic(err)
	}
	if err := server.Kill("billing", "a"); err != nil {
		panic(err)
	}
	fmt.Println("a:", context.Cause(lost.Context()))
	won, err := ofB.Accept(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("b has a later epoch:", won.Epoch() > lost.Epoch())
	// Output:
	// a: brokers: partition revoked: member "a" thrown out by the broker
	// b has a later epoch: true
}

// Wait until everything published has been handled.
func ExampleServer_Await() {
	ctx := context.Background()
	broker := memory.New(memory.Config{})
	defer broker.Close()
	server := broker.Server()
	err := server.Await(ctx, func() bool { return server.Lag("billing", "orders") == 0 })
	fmt.Println(err)
	// Output: <nil>
}
