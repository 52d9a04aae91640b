package embedded

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// Driver opens "nats://embedded?dir=/var/lib/app", each time a server of its
// own. Further options are sync=interval (as by default) or sync=always,
// max_payload, start_timeout, and those of [nats.Driver].
var Driver = brokers.Driver{Schemes: []string{"nats"}, Host: "embedded", Open: openDSN}

func openDSN(ctx context.Context, dsn *brokers.DSN) (brokers.Broker, error) {
	cfg := Config{
		NATS:         nats.ConfigFrom(dsn),
		Dir:          dsn.Text("dir", ""),
		MaxPayload:   dsn.Bytes("max_payload", 0),
		StartTimeout: dsn.Duration("start_timeout", 0),
	}
	if dsn.Enum("sync", "interval", "interval", "always") == "always" {
		cfg.Sync = SyncAlways
	}
	if err := dsn.Finish(); err != nil {
		return nil, err
	}
	if _, err := cfg.complete(); err != nil {
		return nil, err
	}
	b, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return b, nil
}
