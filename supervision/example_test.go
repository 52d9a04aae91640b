package supervision_test

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

var (
	errNoSuchProduct = errors.New("no such product")
	errCancelled     = errors.New("order was cancelled")
	errRateLimited   = errors.New("rate limited")
)

func ExamplePolicy() {
	policy := supervision.Policy{
		MaxAttempts: 3,
		Backoff:     supervision.Constant(time.Second),
		DeadLetter:  "orders.dead",
		Rules: []supervision.Rule{
			supervision.On(errNoSuchProduct).DeadLetter(),
			supervision.On(errCancelled).Discard(),
			supervision.OnType[*net.OpError]().Infrastructure(),
		},
	}
	if err := policy.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	m := brokers.Message{ID: "m-1", Topic: "orders"}
	for _, err := range []error{
		errors.New("deadlock found"),
		fmt.Errorf("line 3: %w", errNoSuchProduct),
		errCancelled,
		&net.OpError{Op: "dial", Err: errors.New("connection refused")},
	} {
		fmt.Println(policy.Decide(supervision.Failure{Err: err, Message: &m, Attempt: 1}))
	}
	fmt.Println(policy.Decide(supervision.Failure{Err: errors.New("deadlock found"), Message: &m, Attempt: 3}))
	// Output:
	// retry after 1s: attempt 1 of 3
	// dead-letter: rule on "no such product"
	// discard: rule on "order was cancelled"
	// suspend: rule on *net.OpError
	// dead-letter: 3 attempts failed
}

// A rule that contradicts the policy is found at start.
func ExamplePolicy_Validate() {
	policy := supervision.Policy{
		Timeout: -time.Second,
		Rules:   []supervision.Rule{supervision.On(errNoSuchProduct).DeadLetter()},
	}
	fmt.Println(policy.Validate())
	// Output:
	// supervision: invalid policy: Timeout: -1s is negative
	// supervision: invalid policy: Rules[0]: (on "no such product": dead-letter) needs the field DeadLetter, or Reject
}

// A handler that knows more than the policy marks its error.
func ExampleRetryAfter() {
	err := supervision.RetryAfter(errRateLimited, 90*time.Second)

	fmt.Println(err, errors.Is(err, errRateLimited))
	fmt.Println(supervision.Policy{}.Decide(supervision.Failure{Err: err, Attempt: 1}))
	// Output:
	// rate limited true
	// retry after 1m30s: attempt 1 of 5
}

// A message dies, and an operator replays it.
func ExampleEncode() {
	m := brokers.Message{ID: "m-1", Topic: "orders", Key: []byte("c-17"), Payload: []byte(`{"qty":-1}`)}
	failure := supervision.Failure{Err: errNoSuchProduct, Message: &m, Attempt: 5}
	verdict := supervision.Policy{DeadLetter: "orders.dead"}.Decide(failure)

	letter := supervision.NewLetter(failure, verdict)
	letter.Group = "billing"
	dead := supervision.Encode(&m, letter, "orders.dead")
	fmt.Printf("%s: %s, because of %q\n", dead.Topic, dead.Payload, dead.Headers.Text("troupe-dl-error-message"))

	replay, err := supervision.Replay(&dead)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s, id %s, was %s\n", replay.Topic, replay.Payload, replay.ID, supervision.OriginalID(replay.ID))
	// Output:
	// orders.dead: {"qty":-1}, because of "no such product"
	// orders: {"qty":-1}, id m-1~replay-1, was m-1
}

func ExampleBreaker() {
	breaker := supervision.NewBreaker(supervision.BreakerConfig{MinPause: time.Second})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

	breaker.Failure(now)
	fmt.Println(breaker.Next(now))
	fmt.Println(breaker.Next(now.Add(time.Second))) // the probe
	breaker.Success(now.Add(2 * time.Second))
	fmt.Println(breaker.State())
	// Output:
	// false 1s
	// true 0s
	// closed
}

func ExampleRestarts() {
	restarts := supervision.NewRestarts(supervision.RestartWindow{Max: 2, Within: time.Second})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

	for _, ms := range []time.Duration{0, 400, 800, 2000} {
		fmt.Println(restarts.Record(now.Add(ms * time.Millisecond)))
	}
	// Output:
	// true
	// true
	// false
	// true
}
