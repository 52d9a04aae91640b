package rabbitmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Driver opens "amqp://user:password@host:5672,host/vhost", for one cluster, and
// with TLS "amqps://...", by default on port 5671. The options are fields of
// [Config]: name, heartbeat, dial_timeout, request_timeout, retry_min and
// retry_max. With TLS also ca_file, cert_file and key_file, in PEM, server_name,
// and auth (password or external).
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
	}
	for _, d := range []struct {
		name string
		to   *time.Duration
	}{
		{"heartbeat", &cfg.Heartbeat},
		{"dial_timeout", &cfg.DialTimeout},
		{"request_timeout", &cfg.RequestTimeout},
		{"retry_min", &cfg.RetryMin},
		{"retry_max", &cfg.RetryMax},
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
	f := files{
		ca: dsn.Text("ca_file", ""), cert: dsn.Text("cert_file", ""), key: dsn.Text("key_file", ""),
		serverName: dsn.Text("server_name", ""),
	}
	if err := dsn.Finish(); err != nil {
		return Config{}, err
	}
	var err error
	cfg.TLS, err = f.config()
	return cfg, err
}

// files are those that TLS needs, by the options that name them.
type files struct{ ca, cert, key, serverName string }

func (f files) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.serverName}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("%w: option ca_file: %w", brokers.ErrInvalid, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: option ca_file: no certificate in %s", brokers.ErrInvalid, f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, fmt.Errorf("%w: options cert_file and key_file go together", brokers.ErrInvalid)
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("%w: options cert_file, key_file: %w", brokers.ErrInvalid, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
