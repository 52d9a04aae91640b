package kafka_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// files are the options that name those of the test servers.
func files(names ...string) string {
	query := url.Values{}
	for _, name := range names {
		variable := map[string]string{"ca_file": "TEST_CA_FILE", "cert_file": "TEST_CLIENT_CERT_FILE", "key_file": "TEST_CLIENT_KEY_FILE"}[name]
		query.Set(name, os.Getenv(variable))
	}
	return query.Encode()
}

// A broker opens with each way to log in and to encrypt, and publishes.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct{ variable, scheme, query string }{
		"Plain":             {"TEST_KAFKA_URL", "kafka", ""},
		"SASLPlain":         {"TEST_KAFKA_SASL_URL", "kafka", "sasl=plain"},
		"SASLScramSHA256":   {"TEST_KAFKA_SASL_URL", "kafka", "sasl=scram-sha-256"},
		"SASLScramSHA512":   {"TEST_KAFKA_SASL_URL", "kafka", ""},
		"TLS":               {"TEST_KAFKA_TLS_URL", "kafka+tls", files("ca_file")},
		"MutualTLS":         {"TEST_KAFKA_TLS_URL", "kafka+tls", files("ca_file", "cert_file", "key_file")},
		"SASLPlainOverTLS":  {"TEST_KAFKA_SASL_TLS_URL", "kafka+tls", "sasl=plain&" + files("ca_file")},
		"SASLScramMutually": {"TEST_KAFKA_SASL_TLS_URL", "kafka+tls", files("ca_file", "cert_file", "key_file")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, rest, _ := strings.Cut(serverURL(t, c.variable), "://")
			b, err := brokers.Open(within(t), c.scheme+"://"+rest+"?"+c.query, kafka.Driver)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			topic := newTopic(t, b.(*kafka.Broker), 2)
			p := publisher(t, b.(*kafka.Broker), brokers.PublisherConfig{})
			if _, err := p.Publish(within(t), messages(topic, 10, 3)...); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(within(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// silent is an address at which somebody listens and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// An error of opening names the endpoint and the step, and no secret.
func TestOpenFails(t *testing.T) {
	for name, c := range map[string]struct{ variable, address, scheme, user, query, step string }{
		"Refused":         {address: refusing(t), scheme: "kafka", user: "app:hunter2@", step: brokers.StepDial},
		"UnknownHost":     {address: "no-such-host.invalid:9092", scheme: "kafka", step: brokers.StepResolve},
		"Silent":          {address: silent(t), scheme: "kafka", step: brokers.StepVerify},
		"SilentTLS":       {address: silent(t), scheme: "kafka+tls", step: brokers.StepTLS},
		"WrongPassword":   {variable: "TEST_KAFKA_SASL_URL", scheme: "kafka", user: "app:hunter2@", step: brokers.StepAuth},
		"WrongPlain":      {variable: "TEST_KAFKA_SASL_URL", scheme: "kafka", user: "app:hunter2@", query: "sasl=plain", step: brokers.StepAuth},
		"NoLogin":         {variable: "TEST_KAFKA_SASL_URL", scheme: "kafka", step: brokers.StepVerify},
		"LoginNotWanted":  {variable: "TEST_KAFKA_URL", scheme: "kafka", user: "app:hunter2@", step: brokers.StepAuth},
		"UnknownCA":       {variable: "TEST_KAFKA_TLS_URL", scheme: "kafka+tls", step: brokers.StepTLS},
		"TLSToPlain":      {variable: "TEST_KAFKA_URL", scheme: "kafka+tls", step: brokers.StepTLS},
		"PlainToTLS":      {variable: "TEST_KAFKA_TLS_URL", scheme: "kafka", step: brokers.StepTLS},
		"WrongServerName": {variable: "TEST_KAFKA_TLS_URL", scheme: "kafka+tls", query: "server_name=elsewhere&" + files("ca_file"), step: brokers.StepTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := c.address
			if c.variable != "" {
				address = seeds(serverURL(t, c.variable))[0]
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			b, err := brokers.Open(ctx, c.scheme+"://"+c.user+address+"?dial_timeout=1s&"+c.query, kafka.Driver)
			if err == nil {
				_ = b.Close()
				t.Fatal("no error")
			}
			var failed *brokers.OpenError
			if !errors.As(err, &failed) || failed.Endpoint != address || failed.Step != c.step {
				t.Errorf("%v; want an OpenError of %s in step %q", err, address, c.step)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has the password: %v", err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// Opening takes any of the seeds that answers, and ends by its deadline.
func TestOpenSeeds(t *testing.T) {
	good := seeds(serverURL(t, "TEST_KAFKA_URL"))[0]
	b, err := kafka.Open(within(t), kafka.Config{Seeds: []string{refusing(t), good, refusing(t)}})
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := kafka.Open(ctx, kafka.Config{Seeds: []string{silent(t), silent(t)}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open of silent seeds: %v; want the deadline", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
