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

// onPairs runs f with two connections to an embedded server, to a real one, and
// to a real one over TLS.
func onPairs(t *testing.T, f func(t *testing.T, one, two *nats.Broker)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		one, two := openTwo(t)
		f(t, one, two)
	})
	t.Run("server", func(t *testing.T) { f(t, openURL(t, serverURL(t)), openURL(t, serverURL(t))) })
	t.Run("TLS", func(t *testing.T) {
		url, ca := tlsServer(t)
		f(t, openURL(t, url+"?ca_file="+ca), openURL(t, url+"?ca_file="+ca))
	})
}

func openURL(t *testing.T, url string) *nats.Broker {
	t.Helper()
	b, err := brokers.Open(lasting(t, patience), url, nats.Driver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.(*nats.Broker)
}

func lasting(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// The text of an error fits into a header.
func TestErrorOfManyLines(t *testing.T) { onPairs(t, errorOfManyLines) }

func errorOfManyLines(t *testing.T, asker, answerer *nats.Broker) {
	topic := name("t")
	r, err := answerer.Respond(t.Context(), brokers.RespondConfig{Topic: topic}, func(context.Context, *brokers.Message) (brokers.Message, error) {
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
	_, err = asker.Request(lasting(t, 10*time.Second), brokers.Message{Topic: topic})
	var got *brokers.ReplyError
	if !errors.As(err, &got) || got.Code != "no_account" || !strings.HasPrefix(got.Message, "there is  no account at all") {
		t.Errorf("got %.100v", err)
	}
}
