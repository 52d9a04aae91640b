package nats

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

func validateSubscription(cfg brokers.SubscriptionConfig) error {
	var field string
	switch {
	case cfg.Group == "":
		field = "Group is empty"
	case len(cfg.Topics) == 0 || slices.Contains(cfg.Topics, ""):
		field = "Topics is empty, or has an empty one"
	case cfg.MaxUnsettled < 0:
		field = "MaxUnsettled is negative"
	case cfg.DrainTimeout < 0:
		field = "DrainTimeout is negative"
	case cfg.AckInterval < 0:
		field = "AckInterval is negative"
	case cfg.Start > brokers.StartLatest:
		field = "Start is unknown"
	case cfg.Mode == brokers.ModeCompeting:
		return fmt.Errorf("%w: SubscriptionConfig.Mode ModeCompeting", brokers.ErrUnsupported)
	case cfg.Mode != brokers.ModeOrdered:
		field = "Mode is unknown"
	default:
		return nil
	}
	return fmt.Errorf("%w: SubscriptionConfig.%s", brokers.ErrInvalid, field)
}

func subscriptionDefaults(cfg brokers.SubscriptionConfig) brokers.SubscriptionConfig {
	cfg.Topics = slices.Compact(slices.Sorted(slices.Values(cfg.Topics)))
	if cfg.Member == "" {
		cfg.Member, _ = os.Hostname() // without one the random suffix is the name
	}
	if cfg.MaxUnsettled == 0 {
		cfg.MaxUnsettled = 2048
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 25 * time.Second
	}
	if cfg.AckInterval == 0 {
		cfg.AckInterval = 10 * time.Millisecond
	}
	return cfg
}
