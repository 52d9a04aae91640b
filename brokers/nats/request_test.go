package nats_test

import (
	"context"
	"errors"
	"strings"
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

func lasting(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// The text of an error fits into a header.
func TestErrorOfManyLines(t *testing.T) {
	asker, answerer := openTwo(t)
	r, err := answerer.Respond(t.Context(), brokers.RespondConfig{Topic: "t"}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		return brokers.Message{}, &brokers.ReplyError{Code: "no_account", Message: "there is\r\nno account" + strings.Repeat(" at all", 10_000)}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(lasting(t, 5*time.Second)); err != nil {
			t.Error(err)
		}
	}()
	_, err = asker.Request(lasting(t, 10*time.Second), brokers.Message{Topic: "t"})
	var got *brokers.ReplyError
	if !errors.As(err, &got) || got.Code != "no_account" || !strings.HasPrefix(got.Message, "there is  no account at all") {
		t.Errorf("got %.100v", err)
	}
}
