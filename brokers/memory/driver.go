package memory

import (
	"context"
	"fmt"
	"math"

	"github.com/troupe-go/troupe/brokers"
)

// Driver opens "memory://", each time a server of its own. The options are the
// fields of [Config]: partitions, refuse_unknown_topics, cumulative_only,
// unsequenced, count_deliveries, dedup_window, max_message_bytes, max_retained
// and drop_settled.
var Driver = brokers.Driver{Schemes: []string{"memory"}, Open: openDSN}

func openDSN(_ context.Context, dsn *brokers.DSN) (brokers.Broker, error) {
	cfg := Config{
		Partitions:          dsn.Int("partitions", 12, 1, math.MaxInt32),
		RefuseUnknownTopics: dsn.Bool("refuse_unknown_topics", false),
		CumulativeOnly:      dsn.Bool("cumulative_only", false),
		Unsequenced:         dsn.Bool("unsequenced", false),
		CountDeliveries:     dsn.Bool("count_deliveries", false),
		DedupWindow:         dsn.Duration("dedup_window", 0),
		MaxMessageBytes:     dsn.Bytes("max_message_bytes", 0),
		MaxRetained:         dsn.Int("max_retained", 0, 0, math.MaxInt),
		DropSettled:         dsn.Bool("drop_settled", false),
	}
	if err := dsn.Finish(); err != nil {
		return nil, err
	}
	if len(dsn.Hosts) > 0 || dsn.Path != "" {
		// It would look as if two openings could meet there.
		return nil, fmt.Errorf("%w: memory DSN with a host or a path: every opening is a server of its own", brokers.ErrInvalid)
	}
	return open(cfg)
}
