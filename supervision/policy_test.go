package supervision_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

var (
	errBoom    = errors.New("boom")
	errVoid    = errors.New("order is void")
	errNoStock = errors.New("no stock")
)

type statusError struct{ code int }

func (e statusError) Error() string { return fmt.Sprintf("status %d", e.code) }

// failure is the nth failed attempt at a message.
func failure(err error, attempt int) supervision.Failure {
	return supervision.Failure{
		Err:     err,
		Message: &brokers.Message{ID: "m-1", Topic: "orders", Partition: 3, Offset: 7, Key: []byte("c-17")},
		Attempt: attempt,
	}
}

func TestDecide(t *testing.T) {
	policy := supervision.Policy{
		MaxAttempts: 3,
		Backoff:     supervision.Constant(time.Second),
		DeadLetter:  "orders.dead",
		Rules: []supervision.Rule{
			supervision.On(errVoid).Discard(),
			supervision.On(errNoStock).Retry(10, supervision.Constant(time.Minute)),
			supervision.OnType[statusError]().Infrastructure(),
			supervision.OnFunc(func(err error) bool { return strings.HasPrefix(err.Error(), "halt") }).Stop(),
			supervision.On(context.DeadlineExceeded).Retry(0, nil),
			supervision.On(errVoid).Stop(),
			supervision.OnType[*supervision.PanicError]().Park(),
		},
	}
	targetless := policy
	targetless.DeadLetter = ""
	endless := policy
	endless.MaxAttempts = -1

	tests := []struct {
		name    string
		policy  supervision.Policy
		failure supervision.Failure
		want    string
	}{
		{"first failure", policy, failure(errBoom, 1), "retry after 1s: attempt 1 of 3"},
		{"last but one", policy, failure(errBoom, 2), "retry after 1s: attempt 2 of 3"},
		{"last", policy, failure(errBoom, 3), "dead-letter: 3 attempts failed"},
		{"beyond the last", policy, failure(errBoom, 9), "dead-letter: 9 attempts failed"},
		{"last without a target", targetless, failure(errBoom, 3), "park after 1s: 3 attempts failed; no dead-letter topic"},
		{"no last", endless, failure(errBoom, 1_000_000), "retry after 1s: attempt 1000000"},

		{"rule by value, first of two", policy, failure(fmt.Errorf("placing: %w", errVoid), 1), `discard: rule on "order is void"`},
		{"rule with its own retry", policy, failure(errNoStock, 9), "retry after 1m0s: attempt 9 of 10"},
		{"rule with its own retry, spent", policy, failure(errNoStock, 10), "dead-letter: 10 attempts failed"},
		{"rule with the policy's retry, spent", policy, failure(context.DeadlineExceeded, 3), "dead-letter: 3 attempts failed"},
		{"rule by type", policy, failure(fmt.Errorf("call: %w", statusError{503}), 99), "suspend: rule on supervision_test.statusError"},
		{"rule by func", policy, failure(errors.New("halt: disk"), 1), "stop: rule on a func"},
		{"rule before mark", policy, failure(supervision.Permanent(errVoid), 1), `discard: rule on "order is void"`},

		{"permanent", policy, failure(supervision.Permanent(errBoom), 1), "dead-letter: permanent"},
		{"permanent without a target", targetless, failure(supervision.Permanent(errBoom), 1), "park after 1s: permanent; no dead-letter topic"},
		{"retry after", policy, failure(supervision.RetryAfter(errBoom, time.Hour), 2), "retry after 1h0m0s: attempt 2 of 3"},
		{"retry after, spent", policy, failure(supervision.RetryAfter(errBoom, time.Hour), 3), "dead-letter: 3 attempts failed"},
		{"retry after nothing", policy, failure(supervision.RetryAfter(errBoom, -time.Hour), 1), "retry after 1s: attempt 1 of 3"},
		{"discardable", policy, failure(supervision.Discardable(errBoom, "expired"), 1), "discard: expired"},
		{"infrastructure", policy, failure(supervision.Infrastructure(errBoom), 99), "suspend: infrastructure fault"},
		{"outermost mark", policy, failure(supervision.Discardable(fmt.Errorf("x: %w", supervision.Permanent(errBoom)), "old"), 1), "discard: old"},
		{"first mark of a join", policy, failure(errors.Join(errBoom, supervision.Infrastructure(errBoom), supervision.Permanent(errBoom)), 1), "suspend: infrastructure fault"},

		{"panic by rule", policy, failure(supervision.NewPanicError("nil map", nil), 1), "park after 1s: rule on *supervision.PanicError"},
		{"panic", supervision.Policy{Backoff: supervision.Constant(1)}, failure(supervision.NewPanicError("nil map", nil), 1), "retry after 1ns: attempt 1 of 5"},
		{"panic with a marked error", supervision.Policy{DeadLetter: "dead"}, failure(supervision.NewPanicError(supervision.Permanent(errBoom), nil), 1), "dead-letter: permanent"},
		{"handler's own cancellation", policy, failure(context.Canceled, 1), "retry after 1s: attempt 1 of 3"},
		{
			"too many deliveries", policy,
			supervision.Failure{Err: supervision.ErrTooManyDeliveries, Delivery: 6},
			"dead-letter: delivered 6 times without a verdict",
		},

		{"revoked", policy, failure(fmt.Errorf("acking: %w", brokers.ErrRevoked), 3), "give back: called off"},
		{
			"cancelled, whatever the error", policy,
			supervision.Failure{Err: supervision.Permanent(errVoid), Attempt: 3, Cancelled: context.Canceled},
			"give back: called off",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.policy.Decide(test.failure).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDecideWithZeroPolicy(t *testing.T) {
	var policy supervision.Policy
	for attempt := 1; attempt < 5; attempt++ {
		bound := 100 * time.Millisecond << (attempt - 1)
		v := policy.Decide(failure(errBoom, attempt))
		if v.Kind != supervision.Retry || v.After < bound/2 || v.After > bound {
			t.Errorf("attempt %d: %v, want a retry after %v to %v", attempt, v, bound/2, bound)
		}
	}
	want := supervision.Verdict{
		Kind: supervision.Park, After: 30 * time.Second,
		Reason: "5 attempts failed; no dead-letter topic",
	}
	if got := policy.Decide(failure(errBoom, 5)); got != want {
		t.Errorf("last attempt: %v, want %v", got, want)
	}
}

func TestOnError(t *testing.T) {
	policy := supervision.Policy{
		MaxAttempts: 2,
		Backoff:     supervision.Constant(time.Second),
		Rules:       []supervision.Rule{supervision.On(errBoom).Stop()},
	}
	tests := []struct {
		name       string
		verdict    supervision.Verdict
		answers    bool
		deadLetter string
		want       string
	}{
		{"no answer", supervision.Verdict{Kind: supervision.Discard}, false, "", `stop: rule on "boom"`},
		{"retry beyond MaxAttempts", supervision.Verdict{Kind: supervision.Retry, After: time.Minute}, true, "", "retry after 1m0s: OnError"},
		{"retry at the policy's pace", supervision.Verdict{Kind: supervision.Retry}, true, "", "retry after 1s: OnError"},
		{"park at the policy's pace", supervision.Verdict{Kind: supervision.Park, After: -1, Reason: "why"}, true, "", "park after 1s: why"},
		{"park at its own pace", supervision.Verdict{Kind: supervision.Park, After: time.Hour, Reason: "why"}, true, "", "park after 1h0m0s: why"},
		{"dead-letter", supervision.Verdict{Kind: supervision.DeadLetter, Reason: "why"}, true, "dead", "dead-letter: why"},
		{"dead-letter without a target", supervision.Verdict{Kind: supervision.DeadLetter}, true, "", "park after 1s: OnError; no dead-letter topic"},
		{"discard", supervision.Verdict{Kind: supervision.Discard, Reason: "why"}, true, "", "discard: why"},
		{"stop", supervision.Verdict{Kind: supervision.Stop}, true, "", "stop: OnError"},
		{"suspend", supervision.Verdict{Kind: supervision.Suspend}, true, "", "suspend: OnError"},
		{"no verdict", supervision.Verdict{}, true, "", "park after 1s: OnError returned no verdict (0)"},
		{"unknown verdict", supervision.Verdict{Kind: 99}, true, "dead", "park after 1s: OnError returned no verdict (99)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := policy
			policy.DeadLetter = test.deadLetter
			policy.OnError = func(f supervision.Failure) (supervision.Verdict, bool) {
				return test.verdict, test.answers && errors.Is(f.Err, errBoom)
			}
			if got := policy.Decide(failure(errBoom, 7)).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	t.Run("not asked about what was called off", func(t *testing.T) {
		policy := policy
		policy.OnError = func(supervision.Failure) (supervision.Verdict, bool) {
			t.Error("asked")
			return supervision.Verdict{}, false
		}
		policy.Decide(failure(brokers.ErrRevoked, 1))
	})
}

func TestValidate(t *testing.T) {
	invalid := supervision.Policy{
		Timeout: -1,
		Backoff: supervision.Constant(-time.Second),
		Rules: []supervision.Rule{
			supervision.On(errVoid).DeadLetter(),
			{},
			supervision.On(nil).Park(),
			supervision.OnFunc(nil).Stop(),
			supervision.On(errBoom).Retry(1, supervision.Exponential(2, 1)),
			supervision.On(errBoom).Retry(1, supervision.DecorrelatedJitter(0, 1)),
			supervision.On(errBoom).Park(),
		},
		Breaker: supervision.BreakerConfig{Threshold: -1, MinPause: -1, MaxPause: -1},
	}
	err := invalid.Validate()
	if !errors.Is(err, supervision.ErrInvalidPolicy) {
		t.Fatalf("got %v", err)
	}
	want := `supervision: invalid policy: Timeout: -1ns is negative
supervision: invalid policy: Backoff: Constant(-1s) is negative
supervision: invalid policy: Rules[0]: (on "order is void": dead-letter) needs the field DeadLetter, or Reject
supervision: invalid policy: Rules[1]: is empty: make it with On, OnType or OnFunc
supervision: invalid policy: Rules[2]: (on nil: park) matches no error
supervision: invalid policy: Rules[3]: (on a func: stop) matches no error
supervision: invalid policy: Rules[4]: (on "boom": retry) Exponential: max 1ns is below base 2ns
supervision: invalid policy: Rules[5]: (on "boom": retry) DecorrelatedJitter: base 0s is not positive
supervision: invalid policy: Breaker.Threshold: -1 is negative
supervision: invalid policy: Breaker.MinPause: -1ns is negative
supervision: invalid policy: Breaker.MaxPause: -1ns is negative`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}

	both := supervision.Policy{Reject: true, DeadLetter: "dead"}
	if err := both.Validate(); err == nil || !strings.Contains(err.Error(), "Reject: goes instead of DeadLetter") {
		t.Errorf("Reject and DeadLetter: got %v", err)
	}
	crossed := supervision.Policy{Breaker: supervision.BreakerConfig{MinPause: 2, MaxPause: 1}}
	if err := crossed.Validate(); err == nil || !strings.Contains(err.Error(), "Breaker.MaxPause") {
		t.Errorf("MaxPause below MinPause: got %v", err)
	}
	for _, valid := range []supervision.Policy{
		{},
		{Reject: true, Rules: []supervision.Rule{supervision.On(errVoid).DeadLetter()}},
		{MaxAttempts: -1, MaxDeliveries: -1, DeadLetter: "dead", Rules: []supervision.Rule{supervision.On(errVoid).DeadLetter()}},
		{Backoff: supervision.Exponential(1, 1), Breaker: supervision.BreakerConfig{MinPause: time.Hour}},
	} {
		if err := valid.Validate(); err != nil {
			t.Errorf("%+v: %v", valid, err)
		}
	}
}

func TestSuspect(t *testing.T) {
	tests := []struct {
		maxDeliveries, delivery int
		want                    bool
	}{
		{0, 0, false},
		{0, 4, false},
		{0, 5, true},
		{2, 1, false},
		{2, 2, true},
		{2, 3, true},
		{-1, 1_000_000, false},
	}
	for _, test := range tests {
		policy := supervision.Policy{MaxDeliveries: test.maxDeliveries}
		if got := policy.Suspect(test.delivery); got != test.want {
			t.Errorf("MaxDeliveries %d, delivery %d: got %v", test.maxDeliveries, test.delivery, got)
		}
	}
}

// Whatever the policy and the failure: the verdict is the same the second time,
// it can be carried out, and it loses the message only if somebody said so.
func TestDecideIsPureAndNeverDropsInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := supervision.Policy{
			MaxAttempts: rapid.IntRange(-1, 6).Draw(t, "max attempts"),
			Backoff:     drawBackoff(t),
			DeadLetter:  rapid.SampledFrom([]string{"", "dead"}).Draw(t, "dead letter"),
		}
		discards := rapid.Bool().Draw(t, "a rule discards")
		if discards {
			policy.Rules = []supervision.Rule{supervision.On(errVoid).Discard()}
		}
		err := rapid.SampledFrom([]error{
			errBoom, errVoid, supervision.Permanent(errBoom), supervision.RetryAfter(errBoom, time.Hour),
			supervision.Infrastructure(errBoom), supervision.ErrTooManyDeliveries, context.DeadlineExceeded,
		}).Draw(t, "error")
		f := failure(err, rapid.IntRange(1, 1<<40).Draw(t, "attempt"))
		f.Message.Offset = rapid.Int64().Draw(t, "offset")

		v := policy.Decide(f)
		again := f
		again.Message = new(f.Message.Clone())
		if second := policy.Decide(again); second != v {
			t.Fatalf("first %v, then %v", v, second)
		}
		switch v.Kind {
		case supervision.Retry, supervision.Park:
			if v.After < 0 {
				t.Fatalf("negative wait: %v", v)
			}
		case supervision.DeadLetter:
			if policy.DeadLetter == "" {
				t.Fatalf("dead letter to nowhere: %v", v)
			}
		case supervision.Discard:
			if !discards || !errors.Is(err, errVoid) {
				t.Fatalf("dropped: %v", v)
			}
		case supervision.Suspend:
		default:
			t.Fatalf("nobody asked for %v", v)
		}
		if v.Reason == "" {
			t.Fatalf("no reason: %+v", v)
		}
	})
}

func TestJitterSpreadsMessages(t *testing.T) {
	policy := supervision.Policy{Backoff: supervision.Exponential(time.Second, time.Minute)}
	const messages = 1000
	var early int
	delays := make(map[time.Duration]bool)
	for offset := range int64(messages) {
		f := failure(errBoom, 1)
		f.Message.Offset = offset
		v := policy.Decide(f)
		delays[v.After] = true
		if v.After < 750*time.Millisecond {
			early++
		}
	}
	if len(delays) < messages*99/100 {
		t.Errorf("%d messages share %d delays", messages, len(delays))
	}
	if early < messages*2/5 || early > messages*3/5 {
		t.Errorf("%d of %d wait less than the mean", early, messages)
	}

	atOnce := supervision.Failure{Err: errBoom, Attempt: 1, FirstAt: time.Unix(1, 0)}
	later := supervision.Failure{Err: errBoom, Attempt: 1, FirstAt: time.Unix(1, 1)}
	if a, b := policy.Decide(atOnce), policy.Decide(later); a == b {
		t.Errorf("two actor messages wait alike: %v", a)
	}
}
