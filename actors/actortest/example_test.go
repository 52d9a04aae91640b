package actortest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// The handler under test: a till that some orders are wrong for.
type till struct{ sum int }

type (
	Order   struct{ Total int }
	Invoice struct{ Customer string }
	GetSum  struct{}
)

var errNoStock = errors.New("no stock")

func (t *till) ordered(ctx *actors.Context, o Order) error {
	switch {
	case o.Total < 0:
		return supervision.Discardable(errors.New("negative"), "void order")
	case o.Total > 1000, o.Total > 100 && ctx.Attempt() == 1:
		return errNoStock
	}
	t.sum += o.Total
	return ctx.Publish("invoices", Invoice{Customer: ctx.Key()})
}

// billing is its subscription.
func billing() actors.Subscription {
	tills := actors.PerKey(func(string) *till { return &till{} })
	actors.On(tills, "Order", (*till).ordered)
	actors.OnRequest(tills, "GetSum", func(t *till, _ *actors.Context, _ GetSum) (int, error) { return t.sum, nil })
	return actors.Subscription{Actor: tills, Policy: supervision.Policy{
		MaxAttempts: 3, Backoff: supervision.Constant(time.Hour), DeadLetter: "orders.dead",
	}}
}

// A user's handler, tested: hours of back-off pass in no time. In a test this is
// synctest.Test(t, func(t *testing.T) { kit := actortest.New(t, billing()) ... }).
func Example() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		kit.Publish("ann", Order{Total: 7}, Order{Total: 200})
		kit.ExpectHandled()
		kit.ExpectPublished("invoices", Invoice{Customer: "ann"})
		kit.ExpectRetried(1, time.Hour)
		kit.ExpectHandled()
		kit.ExpectCommitted(1)
		kit.ExpectKeyOrder()
		fmt.Println(kit.Stop())
	})
	// Output:
	// handled 2, retried 1, dead-lettered 0, discarded 0, given back 0
}

// An expectation that fails says what was seen instead, in order, with times.
func Example_failure() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		kit.Publish("ann", Order{Total: -1})
		kit.ExpectHandled()
	})
	// Output:
	// expected: a message handled
	//      got: nothing of the kind within 1h0m0s
	// what happened (- was expected before, > was not):
	//   0s  assigned      in/0, epoch 1
	//   0s  published     in/0@0 "ann": {"Total":-1}
	//   0s  discarded     in/0@0 "ann": void order: negative
	//   0s  acknowledged  in/0@0 "ann"
}

// What becomes of messages: verdicts, narrowed to a key.
func ExampleScope() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		kit.Publish("ann", Order{Total: 5000})
		kit.Publish("bob", Order{Total: -1})
		kit.Key("bob").ExpectDiscarded("void order")
		kit.Key("ann").ExpectRetried(1, time.Hour)
		kit.Key("ann").ExpectRetried(2, time.Hour)
		letter := kit.Key("ann").ExpectDeadLettered("3 attempts failed")
		kit.ExpectQuiet(24 * time.Hour)
		fmt.Println(letter.Failure.Err)
	})
	// Output:
	// no stock
}

// What arrives at a topic: by value, by type, by condition, or nothing.
func ExampleInbox() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		invoices := kit.Topic("invoices")
		kit.Publish("ann", Order{Total: 1}, Order{Total: 2}, Order{Total: 3})
		invoices.Expect(Invoice{Customer: "ann"})
		fmt.Println(actortest.ExpectType[Invoice](invoices).Customer)
		actortest.ExpectMatch(invoices, func(i Invoice) bool { return i.Customer != "" })
		invoices.ExpectNone(time.Hour)
		kit.Publish("bob", Order{Total: 1}, Order{Total: 2})
		fmt.Println(len(invoices.Receive(2)))
	})
	// Output:
	// ann
	// 2
}

// An actor of the test's asks a key.
func ExampleProbe() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		kit.Publish("ann", Order{Total: 7}, Order{Total: 8})
		kit.ExpectCommitted(1)
		probe := kit.Probe("customer")
		probe.Request(kit.PID("ann"), GetSum{})
		fmt.Println(actortest.ExpectType[int](probe.Inbox))
	})
	// Output:
	// 15
}

// The process dies before it could acknowledge, and what it had comes again.
func ExampleKit_Crash() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		release := kit.Server().HoldAcks()
		kit.Publish("ann", Order{Total: 7})
		kit.ExpectHandled()
		kit.Crash()
		release()
		fmt.Println(kit.ExpectRedelivered().Offset)
		kit.ExpectHandled()
		kit.ExpectCommitted(0)
	})
	// Output:
	// 0
}

// The partitions go to another member, and come back.
func ExampleKit_RebalanceAway() {
	actortest.Run(func(t actortest.TB) {
		kit := actortest.New(t, billing())
		back := kit.RebalanceAway()
		kit.Publish("ann", Order{Total: 7})
		kit.ExpectQuiet(time.Hour)
		back()
		fmt.Println(kit.ExpectHandled().Epoch > 1)
	})
	// Output:
	// true
}

// Code that is given a broker, and no actor, gets one that records.
func ExampleBroker() {
	actortest.Run(func(t actortest.TB) {
		broker := actortest.NewBroker(t, memory.Config{})
		publisher, err := broker.Publisher(brokers.PublisherConfig{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		_, err = publisher.Publish(context.Background(), brokers.Message{Topic: "orders", Key: []byte("ann"), Payload: []byte("7")})
		fmt.Println(err)
		m := broker.Topic("orders").Expect([]byte("7"))
		fmt.Printf("%s\n", m.Value.(brokers.Message).Key)
	})
	// Output:
	// <nil>
	// ann
}
