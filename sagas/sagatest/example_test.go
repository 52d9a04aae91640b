package sagatest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
	"github.com/troupe-go/troupe/supervision"
)

// The saga under test.
type booking struct{ Seat string }

func send(topic, name string) sagas.Action[booking] {
	return sagas.Send(time.Minute, func(b booking) sagas.Command { return sagas.Command{Topic: topic, Type: name, Body: b} },
		func(b booking, r sagas.Reply) (booking, error) {
			if len(r.Payload) == 0 || string(r.Payload) == "null" {
				return b, nil
			}
			err := r.Decode(&b)
			return b, err
		})
}

func bookings() *sagas.Definition[booking] {
	return &sagas.Definition[booking]{
		Name: "booking", Version: 1, Deadline: 24 * time.Hour,
		Steps: []sagas.Step[booking]{
			{
				Name: "seat", Do: send("flights", "Hold"), Undo: send("flights", "Free"),
				Policy: supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(time.Hour)},
			},
			{Name: "pay", Kind: sagas.Pivot, Do: send("cards", "Charge")},
			{Name: "tell", Kind: sagas.Retriable, Do: sagas.Call(time.Minute, func(_ context.Context, _ string, b booking) (booking, error) { return b, nil })},
		},
	}
}

// Given events, expect commands, the state, and what is compensated. In a test t is
// its *testing.T; no virtual time is needed.
func Example() {
	actortest.Run(func(t actortest.TB) {
		s := sagatest.Begin(t, bookings(), "b-7", booking{})
		s.ExpectCommand("flights", "Hold")
		s.Wait() // no reply within its time-out
		s.ExpectNothing()
		s.Wait() // the hour of the policy
		s.ExpectCommand("flights", "Hold")
		s.Accept(booking{Seat: "12A"})
		s.ExpectState(booking{Seat: "12A"})
		s.ExpectCommand("cards", "Charge")
		s.Reject("expired")
		s.ExpectCommand("flights", "Free")
		s.Accept()
		s.ExpectNothing()
		s.ExpectStatus(sagas.Compensated)
		s.ExpectUndone("seat")
		fmt.Println(s.Instance().Status, s.Instance().Reason)
	})
	// Output:
	// compensated expired
}

// An expectation that fails says what was there instead, and what happened before.
func Example_failure() {
	actortest.Run(func(t actortest.TB) {
		s := sagatest.Begin(t, bookings(), "b-7", booking{})
		s.ExpectCommand("flights", "Hold")
		s.Accept()
		s.ExpectCommand("flights", "Free")
	})
	// Output:
	// expected: command Free to flights
	//      got: command Charge to cards (booking/b-7/pay/do)
	// what happened:
	//   0s     started
	//   0s     do seat: step begun
	//   0s     do seat: step done
	//   0s     do pay: step begun
}

// A saga runs in virtual time: a day of silence passes at once. In a test this is
// synctest.Test(t, func(t *testing.T) { w := sagatest.NewWorld(t, bookings()) ... }).
func ExampleWorld() {
	actortest.Run(func(t actortest.TB) {
		w := sagatest.NewWorld(t, bookings())
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			if m.Topic == "cards" {
				return sagas.Rejected, "expired"
			}
			return sagas.Accepted, ""
		}
		h := w.Start(w.Open(), "b-7", booking{})
		in := w.Ends(h, sagas.Compensated)
		fmt.Println(in.Reason, w.Topics())

		w.Answer = func(*brokers.Message) (sagas.Result, string) { return 0, "" } // nobody is there
		began := time.Now()
		h = w.Start(w.Open(), "b-8", booking{})
		<-time.After(25 * time.Hour)
		in, err := h.Query(context.Background())
		fmt.Println(in.Status, in.Reason, err, time.Since(began))
	})
	// Output:
	// expired [flights cards flights]
	// compensating given up at attempt 3: no reply in time <nil> 25h0m0s
}
