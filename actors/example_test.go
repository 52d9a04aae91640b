package actors_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// Code of one's own reacts to what happens: here to partitions that come and go.
func ExampleConfig_observe() {
	broker := memory.New(memory.Config{Partitions: 1})
	publishOrder(broker, "1", `{"Total": 7}`)
	ctx, stop := context.WithCancel(context.Background())
	system, err := actors.NewSystem(
		actors.Config{Observe: func(e actors.Event) {
			switch e := e.(type) {
			case actors.PartitionAssigned:
				fmt.Printf("%s/%d is ours: fill the cache\n", e.Topic, e.Partition)
			case actors.PartitionRevoked:
				fmt.Printf("%s/%d was given back: drop it\n", e.Topic, e.Partition)
			case actors.PartitionLost:
				fmt.Printf("%s/%d was lost: drop it, and %d messages come again elsewhere\n", e.Topic, e.Partition, e.GivenBack)
			}
		}},
		actors.Subscription{
			Group: "billing", Broker: broker, Topics: []string{"orders"},
			Actor: actors.Func(func(context.Context, brokers.Message) error { stop(); return nil }),
		},
	)
	if err != nil {
		panic(err)
	}
	if _, err := system.Run(ctx); err != nil {
		panic(err)
	}
	if err := broker.Close(); err != nil {
		panic(err)
	}
	// Output:
	// orders/0 is ours: fill the cache
	// orders/0 was given back: drop it
}

// tab is what a customer owes.
type tab struct{ Owed int }

type orderPlaced struct{ Total int }

func (t *tab) placed(ctx *actors.Context, o orderPlaced) error {
	t.Owed += o.Total
	fmt.Printf("%s owes %d\n", ctx.Key(), t.Owed)
	return nil
}

// The state of a durable actor outlives the process, and a message that is
// delivered again does not change it again.
func ExampleDurable() {
	broker, store := memory.New(memory.Config{Partitions: 1}), &durable.Memory{}
	publishOrder(broker, "1", `{"Total": 7}`)
	publishOrder(broker, "1", `{"Total": 7}`) // a repeat: it has the id of the first
	publishOrder(broker, "2", `{"Total": 5}`)
	tabs := actors.Durable(func(string) *tab { return &tab{} }, actors.Durability{Store: store})
	actors.On(tabs, "orderPlaced", (*tab).placed)

	ctx, stop := context.WithCancel(context.Background())
	system, err := actors.NewSystem(
		actors.Config{Observe: func(e actors.Event) {
			if acked, ok := e.(actors.Acknowledged); ok && acked.UpTo == 2 {
				stop()
			}
		}},
		actors.Subscription{Group: "tabs", Broker: broker, Topics: []string{"orders"}, Actor: tabs},
	)
	if err != nil {
		panic(err)
	}
	if _, err := system.Run(ctx); err != nil {
		panic(err)
	}
	state, err := store.Load(context.Background(), durable.Scope{Group: "tabs", Topic: "orders"}, "ann")
	if err != nil {
		panic(err)
	}
	fmt.Printf("stored: %s\n", state.State)
	if err := broker.Close(); err != nil {
		panic(err)
	}
	// Output:
	// ann owes 7
	// ann owes 12
	// stored: {"Owed":12}
}

// Invoices count with the orders that they are for, once, also if an order is
// handled again. On Kafka it is the same.
func ExampleSubscription_transactional() {
	broker := memory.New(memory.Config{Partitions: 1})
	publishOrder(broker, "1", `7`)
	publishOrder(broker, "2", `5`)
	ctx, stop := context.WithCancel(context.Background())
	system, err := actors.NewSystem(
		actors.Config{Observe: func(e actors.Event) {
			if acked, ok := e.(actors.Acknowledged); ok && acked.UpTo == 1 {
				stop()
			}
		}},
		actors.Subscription{
			Group: "billing", Broker: broker, Topics: []string{"orders"}, Transactional: true,
			Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				return ctx.Publish("invoices", fmt.Appendf(nil, "%s owes %s", ctx.Key(), ctx.Event().Payload))
			})),
		},
	)
	if err != nil {
		panic(err)
	}
	if _, err := system.Run(ctx); err != nil {
		panic(err)
	}
	for _, invoice := range broker.Server().Messages("invoices") {
		fmt.Println(string(invoice.Payload))
	}
	if err := broker.Close(); err != nil {
		panic(err)
	}
	// Output:
	// ann owes 7
	// ann owes 5
}

func publishOrder(broker *memory.Broker, id, payload string) {
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}
	_, err = publisher.Publish(context.Background(), brokers.Message{
		Topic: "orders", ID: id, Key: []byte("ann"), Payload: []byte(payload),
	})
	if err != nil {
		panic(err)
	}
	if err := publisher.Close(context.Background()); err != nil {
		panic(err)
	}
}
