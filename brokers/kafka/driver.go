package kafka

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Driver opens "kafka://user:password@host:9092,host", and with TLS
// "kafka+tls://...". The options are fields of [Config]: sasl (scram-sha-512,
// scram-sha-256 or plain), client_id, replicas, acks (all, leader or none),
// compression (none, gzip, snappy, lz4 or zstd), batch_messages, batch_bytes,
// linger, assignor (cooperative-sticky or range), instance_id, session_timeout,
// heartbeat_interval, rebalance_timeout, offset_reset (earliest, latest or fail),
// read_uncommitted, fetch_bytes, buffer_bytes, fetch_wait, max_inflated_bytes,
// dial_timeout, request_timeout, retry_min, retry_max and
// metadata_interval; and topic_configs, as name:value,name:value. With TLS also
// ca_file, cert_file and key_file, in PEM, and server_name.
var Driver = brokers.Driver{Schemes: []string{"kafka", schemeTLS}, Open: openDSN}

const schemeTLS = "kafka+tls"

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
		Seeds:         dsn.Addresses(9092),
		User:          dsn.User,
		Password:      dsn.Password,
		Mechanism:     Mechanism(enum(dsn, "sasl", "scram-sha-512", "scram-sha-256", "plain")),
		ClientID:      dsn.Text("client_id", ""),
		Replicas:      dsn.Int("replicas", 0, 1, math.MaxInt16),
		Acks:          Acks(enum(dsn, "acks", "all", "leader", "none")),
		Compression:   Compression(enum(dsn, "compression", "none", "gzip", "snappy", "lz4", "zstd")),
		BatchMessages: dsn.Int("batch_messages", 0, 1, maxBatchMessages),
		BatchBytes:    dsn.Bytes("batch_bytes", 0),

		Assignor:         Assignor(enum(dsn, "assignor", "cooperative-sticky", "range")),
		InstanceID:       dsn.Text("instance_id", ""),
		OffsetReset:      OffsetReset(enum(dsn, "offset_reset", "earliest", "latest", "fail")),
		ReadUncommitted:  dsn.Bool("read_uncommitted", false),
		FetchBytes:       dsn.Bytes("fetch_bytes", 0),
		BufferBytes:      dsn.Bytes("buffer_bytes", 0),
		MaxInflatedBytes: dsn.Bytes("max_inflated_bytes", 0),
	}
	for _, d := range []struct {
		name string
		to   *time.Duration
	}{
		{"linger", &cfg.Linger},
		{"session_timeout", &cfg.SessionTimeout},
		{"heartbeat_interval", &cfg.HeartbeatInterval},
		{"rebalance_timeout", &cfg.RebalanceTimeout},
		{"fetch_wait", &cfg.FetchWait},
		{"dial_timeout", &cfg.DialTimeout},
		{"request_timeout", &cfg.RequestTimeout},
		{"retry_min", &cfg.RetryMin},
		{"retry_max", &cfg.RetryMax},
		{"metadata_interval", &cfg.MetadataInterval},
	} {
		*d.to = dsn.Duration(d.name, 0)
	}
	configs := dsn.Text("topic_configs", "")
	var files brokers.TLSFiles
	if dsn.Scheme == schemeTLS {
		files = dsn.TLSFiles()
	}
	if err := dsn.Finish(); err != nil {
		return Config{}, err
	}
	if dsn.Path != "" && dsn.Path != "/" {
		return Config{}, fmt.Errorf("%w: DSN %s has a path", brokers.ErrInvalid, dsn)
	}
	var err error
	if cfg.TopicConfigs, err = topicConfigs(configs); err != nil {
		return Config{}, err
	}
	if dsn.Scheme == schemeTLS {
		cfg.TLS, err = files.Config()
	}
	return cfg, err
}

// enum returns which of values an option is, the first if it is not given.
func enum(dsn *brokers.DSN, name string, values ...string) int {
	chosen := dsn.Enum(name, values[0], values...)
	for i, v := range values {
		if v == chosen {
			return i
		}
	}
	return 0 // Finish has the error
}

func topicConfigs(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	configs := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: option topic_configs: %q is not of the form name:value", brokers.ErrInvalid, pair)
		}
		configs[name] = value
	}
	return configs, nil
}
