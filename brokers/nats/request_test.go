package nats_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// openTwo opens two connections to one server.
func openTwo(t *testing.T) (a, b *nats.Broker) {
	t.Helper()
	server := startEmbedded(t)
	open := func() *nats.Broker {
		b, err := nats.Open(t.Context(), nats.Config{Options: []client.Option{client.InProcessServer(server)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	return open(), open()
}

// respond answers requests until the test ends.
func respond(t *testing.T, b *nats.Broker, cfg brokers.RespondConfig, answer brokers.AnswerFunc) brokers.Responder {
	t.Helper()
	r, err := b.Respond(t.Context(), cfg, answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func lasting(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestRequestReply(t *testing.T) {
	asker, answerer := openTwo(t)
	respond(t, answerer, brokers.RespondConfig{Topic: "balance of.things"}, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > 10*time.Second || left < 5*time.Second {
			t.Errorf("the handler has %v of the request's 10 s", left)
		}
		unit, _ := m.Headers.Get("unit")
		return brokers.Message{
			Payload: fmt.Appendf(nil, "%s of %s in %s", m.Payload, m.Key, unit),
			Headers: brokers.Headers{{Key: "as-of", Value: []byte("now")}},
		}, nil
	})
	reply, err := asker.Request(lasting(t, 10*time.Second), brokers.Message{
		Topic: "balance of.things", Key: []byte("ann"), Payload: []byte("sum"), CorrelationID: "c-1",
		Headers: brokers.Headers{{Key: "unit", Value: []byte("pence")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	asOf, _ := reply.Headers.Get("as-of")
	if string(reply.Payload) != "sum of ann in pence" || reply.CorrelationID != "c-1" || string(asOf) != "now" {
		t.Errorf("reply %+v", reply)
	}
}

func TestErrorsAreData(t *testing.T) {
	asker, answerer := openTwo(t)
	respond(t, answerer, brokers.RespondConfig{Topic: "t"}, func(_ context.Context, m *brokers.Message) (brokers.Message, error) {
		switch string(m.Payload) {
		case "own":
			return brokers.Message{}, fmt.Errorf("ledger: %w", &brokers.ReplyError{Code: "no_account", Message: "there is\nno account"})
		case "panic":
			panic("secret state")
		case "large":
			return brokers.Message{Payload: make([]byte, 9<<20)}, nil
		}
		return brokers.Message{Payload: []byte("a result with a payload that is dropped")}, errors.New("disk full")
	})
	for ask, want := range map[string]brokers.ReplyError{
		"own":   {Code: "no_account", Message: "there is no account"},
		"panic": {Code: brokers.CodeInternal, Message: "the handler panicked"},
		"other": {Code: brokers.CodeInternal, Message: "disk full"},
	} {
		reply, err := asker.Request(lasting(t, 10*time.Second), brokers.Message{Topic: "t", Payload: []byte(ask)})
		var got *brokers.ReplyError
		if !errors.As(err, &got) || *got != want || reply.Payload != nil {
			t.Errorf("%s: %q, %v; want %v and no payload", ask, reply.Payload, err, want)
		}
	}
	_, err := asker.Request(lasting(t, 10*time.Second), brokers.Message{Topic: "t", Payload: []byte("large")})
	if got := (*brokers.ReplyError)(nil); !errors.As(err, &got) || got.Code != brokers.CodeInternal {
		t.Errorf("a reply over the limit: %v; want an error with %q", err, brokers.CodeInternal)
	}
}

func TestNoRespondersAtOnce(t *testing.T) {
	asker, answerer := openTwo(t)
	began := time.Now()
	_, err := asker.Request(lasting(t, 30*time.Second), brokers.Message{Topic: "t", Payload: []byte{}})
	if !errors.Is(err, brokers.ErrNoResponders) || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v; want ErrNoResponders at once", err, time.Since(began))
	}
	// Once a responder is closed, too.
	r := respond(t, answerer, brokers.RespondConfig{Topic: "t"}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		return brokers.Message{Payload: []byte("x")}, nil
	})
	if _, err := asker.Request(lasting(t, 30*time.Second), brokers.Message{Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := asker.Request(lasting(t, 30*time.Second), brokers.Message{Topic: "t"}); !errors.Is(err, brokers.ErrNoResponders) {
		t.Errorf("after Close: %v; want ErrNoResponders", err)
	}
}

// A late reply is nobody's: not of the request that gave up, nor of the next.
func TestLateReply(t *testing.T) {
	asker, answerer := openTwo(t)
	release := make(chan struct{})
	late := make(chan struct{})
	respond(t, answerer, brokers.RespondConfig{Topic: "t"}, func(_ context.Context, m *brokers.Message) (brokers.Message, error) {
		if string(m.Payload) == "slow" {
			<-release
			defer close(late)
		}
		return brokers.Message{Payload: m.Payload}, nil
	})
	_, err := asker.Request(lasting(t, 100*time.Millisecond), brokers.Message{Topic: "t", Payload: []byte("slow")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v; want the deadline", err)
	}
	close(release)
	<-late
	for i := range 20 {
		want := fmt.Sprint("quick ", i)
		reply, err := asker.Request(lasting(t, 10*time.Second), brokers.Message{Topic: "t", Payload: []byte(want)})
		if err != nil || string(reply.Payload) != want {
			t.Fatalf("%q, %v; want %q", reply.Payload, err, want)
		}
	}
}

func TestOverload(t *testing.T) {
	asker, answerer := openTwo(t)
	started, release := make(chan struct{}, 3), make(chan struct{})
	r := respond(t, answerer, brokers.RespondConfig{Topic: "t", Concurrency: 1, MaxPending: 1},
		func(context.Context, *brokers.Message) (brokers.Message, error) {
			started <- struct{}{}
			<-release
			return brokers.Message{Payload: []byte("done")}, nil
		})
	results := make(chan error, 3)
	ask := func() {
		_, err := asker.Request(lasting(t, 20*time.Second), brokers.Message{Topic: "t"})
		results <- err
	}
	go ask()
	<-started // one at work; of two more, one waits and one is too many
	go ask()
	go ask()
	var refused *brokers.ReplyError
	if err := <-results; !errors.As(err, &refused) || refused.Code != brokers.CodeOverloaded {
		t.Errorf("%v; want code %q", err, brokers.CodeOverloaded)
	}
	// Close answers what was taken.
	closed := make(chan error, 1)
	go func() { closed <- r.Close(lasting(t, 20*time.Second)) }()
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Members of a group share the requests.
func TestGroupsShare(t *testing.T) {
	one, two := openTwo(t)
	var counts [2]atomic.Int32
	for i, b := range []*nats.Broker{one, two} {
		respond(t, b, brokers.RespondConfig{Topic: "t"}, func(context.Context, *brokers.Message) (brokers.Message, error) {
			counts[i].Add(1)
			return brokers.Message{}, nil
		})
	}
	for range 100 {
		if _, err := one.Request(lasting(t, 10*time.Second), brokers.Message{Topic: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := counts[0].Load(), counts[1].Load(); a+b != 100 || a == 0 || b == 0 {
		t.Errorf("members answered %d and %d; want 100 in all, and some each", a, b)
	}
}
