package rabbitmq

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Driver opens "amqp://user:password@host:5672,host/vhost", for one cluster, and
// with TLS "amqps://...", by default on port 5671. The options are fields of
// [Config]: name, heartbeat, dial_timeout, request_timeout, retry_min, retry_max,
// member_interval, failover_after, acknowledgement_timeout, dead_letter_exchange,
// dead_letter_routing_key and publish_connections. With TLS also ca_file, cert_file and
// key_file, in PEM, server_name, and auth (password or external).
var Driver = brokers.Driver{Schemes: []string{"amqp", schemeTLS}, Open: openDSN}

const (
	schemeTLS = "amqps"
	port      = 5672
	portTLS   = 5671
)

func openDSN(ctx context.Context, dsn *brokers.DSN) (brokers.Broker, error) {
	cfg, err := ConfigFrom(dsn)
	if err != nil {
		return nil, err
	}
	b, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ConfigFrom reads a DSN with all its options and the files that they name. An
// error wraps [brokers.ErrInvalid] and names what is wrong.
func ConfigFrom(dsn *brokers.DSN) (Config, error) {
	cfg := Config{
		Addresses:   dsn.Addresses(port),
		User:        dsn.User,
		Password:    dsn.Password,
		VirtualHost: strings.TrimPrefix(dsn.Path, "/"),
		Name:        dsn.Text("name", ""),
		DeadLetter:  DeadLetter{Exchange: dsn.Text("dead_letter_exchange", ""), RoutingKey: dsn.Text("dead_letter_routing_key", "")},
	}
	cfg.PublishConnections = dsn.Int("publish_connections", 0, 1, maxPublishConnections)
	for _, d := range []struct {
		name string
		to   *time.Duration
	}{
		{"heartbeat", &cfg.Heartbeat},
		{"dial_timeout", &cfg.DialTimeout},
		{"request_timeout", &cfg.RequestTimeout},
		{"retry_min", &cfg.RetryMin},
		{"retry_max", &cfg.RetryMax},
		{"member_interval", &cfg.MemberInterval},
		{"failover_after", &cfg.FailoverAfter},
		{"acknowledgement_timeout", &cfg.AcknowledgementTimeout},
	} {
		*d.to = dsn.Duration(d.name, 0)
	}
	if dsn.Scheme != schemeTLS {
		return cfg, dsn.Finish()
	}
	if cfg.Addresses = dsn.Addresses(portTLS); len(cfg.Addresses) == 0 {
		cfg.Addresses = []string{fmt.Sprintf("127.0.0.1:%d", portTLS)}
	}
	cfg.ExternalAuth = dsn.Enum("auth", "password", "password", "external") == "external"
	files := dsn.TLSFiles()
	if err := dsn.Finish(); err != nil {
		return Config{}, err
	}
	var err error
	cfg.TLS, err = files.Config()
	return cfg, err
}
