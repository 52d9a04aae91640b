package sagas_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// The events. Each service publishes its own, and reacts to those of others.
type (
	OrderPlaced    struct{ Pounds int }
	StockReserved  struct{ Pounds int }
	PaymentRefused struct{ Reason string }
	OrderCancelled struct{ Reason string }
)

// The stock reserves what is ordered, and releases it when it is not paid for: it
// knows by itself how to compensate what it has done.
type stockOf struct{ reserved bool }

func (s *stockOf) placed(ctx *actors.Context, o OrderPlaced) error {
	s.reserved = true
	fmt.Println("stock: reserved for", ctx.Key())
	return ctx.Publish("reserved", StockReserved(o))
}

// shelf is the stock's actor in its other subscription.
type shelf struct{}

func (*shelf) refused(ctx *actors.Context, p PaymentRefused) error {
	fmt.Println("stock: released for", ctx.Key())
	return ctx.Publish("cancelled", OrderCancelled(p))
}

type cardOf struct{}

func (*cardOf) reserved(ctx *actors.Context, s StockReserved) error {
	fmt.Println("payments: refused", s.Pounds, "pounds")
	return ctx.Publish("refused", PaymentRefused{"card expired"})
}

// Choreography: without a saga, services react to each other's events, and each
// compensates its own work. It needs no orchestrator, and nobody can say how far an
// order is. Where state must survive, the actors are actors.Durable.
func Example_choreography() {
	ctx, done := context.WithCancel(context.Background())
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }() // in memory it has nothing to lose

	orders := actors.PerKey(func(string) *stockOf { return &stockOf{} })
	actors.On(orders, "OrderPlaced", (*stockOf).placed)
	cards := actors.PerKey(func(string) *cardOf { return &cardOf{} })
	actors.On(cards, "StockReserved", (*cardOf).reserved)
	shelves := actors.PerKey(func(string) *shelf { return &shelf{} })
	actors.On(shelves, "PaymentRefused", (*shelf).refused)
	customer := actors.Func(func(_ context.Context, m brokers.Message) error {
		fmt.Printf("customer: %s is cancelled: %s\n", m.Key, m.Payload)
		done()
		return nil
	})
	system, err := actors.NewSystem(actors.Config{},
		actors.Subscription{Group: "stock", Broker: broker, Topics: []string{"placed"}, Actor: orders},
		actors.Subscription{Group: "payments", Broker: broker, Topics: []string{"reserved"}, Actor: cards},
		actors.Subscription{Group: "stock", Broker: broker, Topics: []string{"refused"}, Actor: shelves},
		actors.Subscription{Group: "customers", Broker: broker, Topics: []string{"cancelled"}, Actor: customer},
	)
	if err != nil {
		panic(err)
	}
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}
	_, err = publisher.Publish(ctx, brokers.Message{
		Topic: "placed", Key: []byte("order-7"), Payload: []byte(`{"Pounds": 12}`), Headers: brokers.Headers{{Key: "type", Value: []byte("OrderPlaced")}},
	})
	if err != nil {
		panic(err)
	}
	if _, err := system.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// stock: reserved for order-7
	// payments: refused 12 pounds
	// stock: released for order-7
	// customer: order-7 is cancelled: {"Reason":"card expired"}
}
