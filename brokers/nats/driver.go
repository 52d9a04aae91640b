package nats

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Driver opens "nats://user:password@host:4222,host", for one cluster. The
// options are fields of [Config]: name, replicas, max_age, max_bytes,
// dedup_window, pinned_ttl, acks (each or prefix), ack_wait, prefetch,
// prefetch_bytes, member_interval, failover_after, request_timeout,
// publish_timeout and reconnect_wait. Instead of user and password there may be
// token, nkey (a seed), each also as token_file, token_env and so on, or
// credentials_file or credentials_env. With TLS, "nats+tls://" or "tls://", also
// ca_file, cert_file, key_file, server_name and tls_first.
var Driver = brokers.Driver{Schemes: []string{"nats", "nats+tls", "tls"}, Open: openDSN}

func openDSN(ctx context.Context, dsn *brokers.DSN) (brokers.Broker, error) {
	cfg := ConfigFrom(dsn)
	err := errors.Join(readTLS(dsn, &cfg), readLogin(dsn, &cfg))
	if unknown := dsn.Finish(); unknown != nil {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if dsn.Path != "" && dsn.Path != "/" {
		return nil, fmt.Errorf("%w: DSN %s has a path", brokers.ErrInvalid, dsn)
	}
	b, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ConfigFrom reads a DSN and its options, for [Driver] and drivers like it. The
// caller reads options of its own, and calls Finish before it uses any.
func ConfigFrom(dsn *brokers.DSN) Config {
	cfg := Config{
		User: dsn.User, Password: dsn.Password,
		Name:          dsn.Text("name", ""),
		Replicas:      dsn.Int("replicas", 0, 1, 5),
		MaxBytes:      int64(dsn.Bytes("max_bytes", 0)),
		Prefetch:      dsn.Int("prefetch", 0, 1, math.MaxInt32),
		PrefetchBytes: dsn.Bytes("prefetch_bytes", 0),
	}
	if dsn.Enum("acks", "each", "each", "prefix") == "prefix" {
		cfg.Acks = AcksPrefix
	}
	for _, address := range dsn.Addresses(4222) {
		cfg.Servers = append(cfg.Servers, "nats://"+address)
	}
	for _, d := range []struct {
		name string
		to   *time.Duration
	}{
		{"max_age", &cfg.MaxAge},
		{"dedup_window", &cfg.DedupWindow},
		{"pinned_ttl", &cfg.PinnedTTL},
		{"ack_wait", &cfg.AckWait},
		{"member_interval", &cfg.MemberInterval},
		{"failover_after", &cfg.FailoverAfter},
		{"request_timeout", &cfg.RequestTimeout},
		{"publish_timeout", &cfg.PublishTimeout},
		{"reconnect_wait", &cfg.ReconnectWait},
	} {
		*d.to = dsn.Duration(d.name, 0)
	}
	return cfg
}
