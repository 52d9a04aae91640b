package actortest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a TB that keeps what failed.
type recorder struct {
	failures []string
	cleanups []func()
}

// fatal is the panic by which a recorder's test ends.
type fatal struct{}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

// run runs f as a test that is over at its first Fatalf.
func (r *recorder) run(f func(t actortest.TB)) {
	defer func() {
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.cleanups[i]()
		}
	}()
	defer func() {
		if v := recover(); v != nil && v != any(fatal{}) {
			panic(v)
		}
	}()
	f(r)
}

// failure runs f in a bubble and returns how it failed; "" if it did not.
func failure(t *testing.T, f func(t actortest.TB)) string {
	t.Helper()
	r := &recorder{}
	synctest.Test(t, func(*testing.T) { r.run(f) })
	return strings.Join(r.failures, "\n")
}

// mustFail expects a failure that says all of that.
func mustFail(t *testing.T, failure string, parts ...string) {
	t.Helper()
	if failure == "" {
		t.Fatal("did not fail")
	}
	for _, part := range parts {
		if !strings.Contains(failure, part) {
			t.Errorf("does not say %q:\n%s", part, failure)
		}
	}
}

type OrderPlaced struct{ Total int }

type Total struct{ Sum int }

func (Total) EventType() string { return "TotalChanged" }

var errFlaky, errVoid = errors.New("flaky"), errors.New("void")

// clerk does what its messages tell it.
type clerk struct{}

func (clerk) Receive(ctx *actors.Context) error {
	if ctx.Event() == nil {
		return clerk{}.answer(ctx)
	}
	switch order := string(ctx.Event().Payload); order {
	case "flaky":
		if ctx.Attempt() == 1 {
			return errFlaky
		}
	case "bad":
		return errFlaky
	case "void":
		return errVoid
	case "stop":
		return supervision.Permanent(fmt.Errorf("stop: %w", errStop))
	case "total":
		return errors.Join(ctx.Publish("out", Total{7}), ctx.Publish("out", []byte("raw")))
	case "warn":
		ctx.Logger().Warn("running out of paper")
	case "spawn":
		_, err := ctx.Spawn(actor.PropsFromFunc(func(actor.Context) {}), "helper")
		return err
	case "slow":
		<-time.After(time.Minute)
	}
	return nil
}

var errStop = errors.New("must not go on")

func (clerk) answer(ctx *actors.Context) error {
	if ctx.Letter() == "ping" {
		ctx.Respond("pong")
	}
	return nil
}

// desk is a kit with a clerk, whose delays are exact.
func desk(t actortest.TB) *actortest.Kit {
	return actortest.New(t, actors.Subscription{Actor: actors.Shared(clerk{}), PassivateAfter: -1, Policy: supervision.Policy{
		MaxAttempts: 2, Backoff: supervision.Constant(time.Second), DeadLetter: "dead",
		Rules: []supervision.Rule{supervision.On(errVoid).Discard(), supervision.On(errStop).Stop()},
	}})
}

// parking is a desk where nothing is dead-lettered.
func parking(t actortest.TB) *actortest.Kit {
	return actortest.New(t, actors.Subscription{Actor: actors.Shared(clerk{}), Policy: supervision.Policy{
		MaxAttempts: 1, Backoff: supervision.Constant(time.Minute),
	}})
}
