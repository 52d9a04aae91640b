// Command quickstart keeps accounts.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

type deposit struct{ Pence int }

// account is an actor. There is one for each key, and it does one thing at a time.
type account struct{ pence int }

func (a *account) deposited(ctx *actors.Context, d deposit) error {
	a.pence += d.Pence
	fmt.Printf("%s has %d\n", ctx.Key(), a.pence)
	return nil // done: the message is acknowledged. An error is judged by the policy.
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	broker := memory.New(memory.Config{})

	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	check(err)
	_, err = publisher.Publish(ctx,
		brokers.Message{Topic: "deposits", Key: []byte("ann"), Payload: []byte(`{"Pence": 500}`)},
		brokers.Message{Topic: "deposits", Key: []byte("bob"), Payload: []byte(`{"Pence": 300}`)},
		brokers.Message{Topic: "deposits", Key: []byte("ann"), Payload: []byte(`{"Pence": "?"}`)}, // a dead letter
		brokers.Message{Topic: "deposits", Key: []byte("ann"), Payload: []byte(`{"Pence": 250}`)},
	)
	check(err)

	accounts := actors.PerKey(func(key string) *account { return &account{} })
	actors.On(accounts, "deposit", (*account).deposited)
	system, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "balances", Broker: broker, Topics: []string{"deposits"}, Actor: accounts,
		Policy: supervision.Policy{DeadLetter: "deposits.dead"},
	})
	check(err)
	report, err := system.Run(ctx) // until Ctrl-C
	check(err)
	fmt.Println(report)
	check(broker.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
