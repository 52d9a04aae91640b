package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is planned is made, what dies is found, and what is replayed handled; run
// again there is nothing to make.
func TestPrints(t *testing.T) {
	for _, variable := range []string{"TEST_AMQP_URL", "TEST_AMQP4_URL"} {
		t.Run(variable, func(t *testing.T) {
			url := os.Getenv(variable)
			if url == "" {
				if variable == "TEST_AMQP_URL" && os.Getenv("REQUIRE_BROKERS") == "1" {
					t.Fatal(variable + " is not set")
				}
				t.Skip(variable + " is not set")
			}
			s := newShop("topology-" + uuid.NewString())
			prefix := strings.TrimSuffix(s.orders, ".orders")
			t.Cleanup(func() { remove(t, url, s) })
			plan := printed(t, url, prefix, true)
			if want := made + bind; plan != want {
				t.Errorf("plan:\n%s\nwant:\n%s", plan, want)
			}
			for _, missing := range []string{made, ""} {
				if got, want := printed(t, url, prefix, false), missing+bind+story; got != want {
					t.Errorf("printed:\n%s\nwant:\n%s", got, want)
				}
			}
		})
	}
}

const (
	made = `make exchange "P.orders"
make exchange "P.dead"
make queue "P.eu"
make queue "P.us"
make queue "P.graveyard"
`
	bind = `ensure binding of queue "P.eu" to exchange "P.orders" by "eu.#"
ensure binding of queue "P.us" to exchange "P.orders" by "us.#"
ensure binding of queue "P.graveyard" to exchange "P.dead"
`
	story = `EU: handled 2, retried 0, dead-lettered 1, discarded 0, given back 0
dead: order 3 by us.books: expired in P.us 
dead: order void by eu.toys: permanent in eu the order is void
replay: matched 1, done 1, held 0, unmarked 0
EU: handled 1, retried 0, dead-lettered 0, discarded 0, given back 0
`
)

func printed(t *testing.T, url, prefix string, plan bool) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), url, prefix, plan, &out); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), prefix, "P")
}

func remove(t *testing.T, url string, s shop) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{s.eu, s.us, s.graveyard} {
		if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
			t.Error(err)
		}
	}
	for _, exchange := range []string{s.orders, s.dead} {
		if err := ch.ExchangeDelete(exchange, false, false); err != nil {
			t.Error(err)
		}
	}
}
