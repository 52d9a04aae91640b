package sagas_test

import (
	"fmt"
	"time"

	"github.com/troupe-go/troupe/sagas"
)

type checkout struct{ Order, Receipt string }

// command is sent to a topic, with the order in it.
func command(topic, name string) sagas.Action[checkout] {
	return sagas.Send(30*time.Second, func(c checkout) sagas.Command {
		return sagas.Command{Topic: topic, Type: name, Body: c.Order}
	}, nil)
}

// A card is refused, and the stock that was reserved is released.
func Example() {
	def := sagas.Definition[checkout]{
		Name: "checkout", Version: 1,
		Steps: []sagas.Step[checkout]{
			{Name: "reserve", Do: command("stock", "Reserve"), Undo: command("stock", "Release")},
			{Name: "charge", Kind: sagas.Pivot, Do: command("cards", "Charge")},
			{Name: "ship", Kind: sagas.Retriable, Do: command("parcels", "Ship")},
		},
	}
	if err := def.Validate(); err != nil {
		panic(err)
	}

	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	step := def.Begin("order-7", checkout{Order: "order-7"}, now)
	for _, reply := range []sagas.Reply{
		{Result: sagas.Accepted},
		{Result: sagas.Rejected, Reason: "card expired"},
		{Result: sagas.Accepted},
	} {
		sent := step.Commands[0]
		fmt.Println("sent", sent.Type, "to", sent.Topic)
		reply.Key = sent.IdempotencyKey
		var err error
		step, err = def.Advance(step.Instance, sagas.Replied[checkout]{Reply: reply}, now)
		if err != nil {
			panic(err)
		}
	}
	fmt.Printf("%v: %s\n", step.Instance.Status, step.Instance.Reason)
	// Output:
	// sent Reserve to stock
	// sent Charge to cards
	// sent Release to stock
	// compensated: card expired
}
