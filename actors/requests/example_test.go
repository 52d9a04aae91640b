package requests_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/troupe-go/troupe/actors/requests"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

type divide struct{ A, B int }

type quotient struct{ Value int }

// A function answers; what it refuses is an error of its own code.
func Example() {
	dir, err := os.MkdirTemp("", "requests")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	broker, err := embedded.Open(ctx, embedded.Config{Dir: dir})
	check(err)
	c := requests.Client{Broker: broker}
	responder, err := requests.Handle(ctx, c, brokers.RespondConfig{Topic: "division"},
		func(_ context.Context, q divide, _ *brokers.Message) (quotient, error) {
			if q.B == 0 {
				return quotient{}, &brokers.ReplyError{Code: "by_zero", Message: "nothing can be divided by 0"}
			}
			return quotient{q.A / q.B}, nil
		})
	check(err)
	for _, q := range []divide{{12, 4}, {1, 0}} {
		got, err := requests.Ask[divide, quotient](ctx, c, requests.To{Topic: "division"}, q)
		fmt.Println(got.Value, err)
	}
	check(errors.Join(responder.Close(ctx), broker.Close()))
	// Output:
	// 3 <nil>
	// 0 by_zero: nothing can be divided by 0
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
