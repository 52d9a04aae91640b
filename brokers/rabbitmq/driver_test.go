package rabbitmq_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func TestConfigFrom(t *testing.T) {
	cfg := config(t, "amqp://me:secret@a,b:1234/my%2Fhost?name=billing&heartbeat=5s&retry_max=1m")
	if strings.Join(cfg.Addresses, " ") != "a:5672 b:1234" || cfg.User != "me" || cfg.Password.Reveal() != "secret" {
		t.Errorf("addresses %v, user %q", cfg.Addresses, cfg.User)
	}
	if cfg.VirtualHost != "my/host" || cfg.Name != "billing" || cfg.Heartbeat != 5*time.Second || cfg.RetryMax != time.Minute || cfg.TLS != nil {
		t.Errorf("got %+v", cfg)
	}
	if cfg := config(t, "amqps://a?server_name=b&auth=external"); cfg.Addresses[0] != "a:5671" || cfg.TLS.ServerName != "b" || !cfg.ExternalAuth {
		t.Errorf("got %+v", cfg)
	}
}

func TestInvalid(t *testing.T) {
	for dsn, field := range map[string]string{
		"amqp://a?prefetch=1":         "prefetch",
		"amqp://a?ca_file=x":          "ca_file",
		"amqp://a?heartbeat=1ms":      "Heartbeat",
		"amqps://a?cert_file=x":       "key_file",
		"amqps://a?ca_file=/nowhere":  "ca_file",
		"amqps://a?auth=external":     "ExternalAuth",
		"amqp://a?retry_min=sometime": "retry_min",
	} {
		_, err := brokers.Open(t.Context(), dsn, rabbitmq.Driver)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v; want ErrInvalid that names %s", dsn, err, field)
		}
	}
}

// What is wrong when opening is said, and at which endpoint.
func TestOpenErrors(t *testing.T) {
	url := serverURL(t, "TEST_AMQP_URL", false)
	encrypted := serverURL(t, "TEST_AMQPS_URL", false)
	for name, c := range map[string]struct {
		url, step string
		change    func(*rabbitmq.Config)
	}{
		"Dial":    {url, brokers.StepDial, func(c *rabbitmq.Config) { c.Addresses = []string{"127.0.0.1:1"} }},
		"Resolve": {url, brokers.StepResolve, func(c *rabbitmq.Config) { c.Addresses = []string{"nowhere.invalid:5672"} }},
		"Auth":    {url, brokers.StepAuth, func(c *rabbitmq.Config) { c.Password = brokers.NewSecret("hush") }},
		"Vhost":   {url, brokers.StepVerify, func(c *rabbitmq.Config) { c.VirtualHost = "nowhere" }},
		"TLS":     {encrypted, brokers.StepTLS, func(c *rabbitmq.Config) { c.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, c.url)
			c.change(&cfg)
			_, err := rabbitmq.Open(t.Context(), cfg)
			var failed *brokers.OpenError
			if !errors.As(err, &failed) || failed.Step != c.step || failed.Endpoint != cfg.Addresses[0] {
				t.Fatalf("got %v; want step %q at %s", err, c.step, cfg.Addresses[0])
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("%v has the password", err)
			}
		})
	}
}

// A server that accepts and says nothing is given up when ctx ends.
func TestOpenSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = rabbitmq.Open(ctx, rabbitmq.Config{Addresses: []string{silent.Addr().String()}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want the context's error", err)
	}
}

// Of several addresses one that answers is enough.
func TestOpenList(t *testing.T) {
	cfg := config(t, serverURL(t, "TEST_AMQP_URL", false))
	cfg.Addresses = append(cfg.Addresses, "127.0.0.1:1", "nowhere.invalid:5672")
	for range 5 {
		if h := open(t, cfg).Health(t.Context()); !h.Connected || h.Err != nil {
			t.Errorf("Health: %+v", h)
		}
	}
}

// An operator tells connections by their names.
func TestConnectionNames(t *testing.T) {
	cfg := config(t, serverURL(t, "TEST_AMQP_URL", false))
	cfg.Name = "billing " + uuid.NewString()
	open(t, cfg)
	for ctx := lasting(t, 60*time.Second); ; {
		list := string(manage(t, http.MethodGet, "/api/connections?columns=user_provided_name", ""))
		if strings.Contains(list, cfg.Name+" publish") && strings.Contains(list, cfg.Name+" consume") {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond): // the list is of some seconds ago
		case <-ctx.Done():
			t.Fatal(list)
		}
	}
}
