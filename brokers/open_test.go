package brokers

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// driver is one that refuses to open, by its name.
func driver(name, host string, schemes ...string) Driver {
	return Driver{Schemes: schemes, Host: host, Open: func(context.Context, *DSN) (Broker, error) { return nil, errors.New(name) }}
}

func TestOpenChoosesTheDriver(t *testing.T) {
	drivers := []Driver{
		driver("nats", "", "nats", "tls"),
		driver("embedded", "embedded", "nats"),
		driver("amqp", "", "amqp", "amqps"),
	}
	for dsn, want := range map[string]string{
		"nats://h":           "nats",
		"nats://embedded":    "embedded",
		"nats://embedded:1":  "nats",
		"nats://embedded,h":  "nats",
		"amqps://u:p@h/path": "amqp",
	} {
		if _, err := Open(t.Context(), dsn, drivers...); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", dsn, err, want)
		}
	}
}

func TestOpenSaysWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		dsn     string
		drivers []Driver
		want    string
	}{
		{"stan://u:hunter2@h", []Driver{driver("n", "", "nats"), driver("e", "embedded", "nats")}, "no driver opens stan://h; there are: nats://, nats://embedded"},
		{"nats://other", []Driver{driver("e", "embedded", "nats")}, "there are: nats://embedded"},
		{"nats://h", nil, "no driver was given"},
		{"nats://h", []Driver{driver("a", "", "nats"), driver("b", "", "nats")}, "two drivers open nats://"},
		{"h:4222", []Driver{driver("a", "", "nats")}, "does not begin with a scheme"},
	} {
		_, err := Open(t.Context(), c.dsn, c.drivers...)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want: %s", c.dsn, err, c.want)
		}
	}
}

func TestOpenErrorNamesEndpointAndStep(t *testing.T) {
	err := error(&OpenError{Endpoint: "h:5672", Step: StepTLS, Err: errBroken})
	if err.Error() != "brokers: open h:5672: TLS: broken" || !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}
