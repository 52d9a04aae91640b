package brokers

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
)

// DefaultAckInterval is what AckInterval defaults to where acknowledging is
// cheap.
const DefaultAckInterval = 10 * time.Millisecond

// For returns the config as a driver of those features is to work with it: with
// its defaults, and with Topics sorted, each once. Drivers call it. An error
// wraps [ErrInvalid] and names the field, or [ErrUnsupported].
func (c SubscriptionConfig) For(f Features) (SubscriptionConfig, error) {
	if err := c.check(f); err != nil {
		return SubscriptionConfig{}, err
	}
	c.Topics = slices.Compact(slices.Sorted(slices.Values(c.Topics)))
	if c.Member == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown-host"
		}
		c.Member = host + "-" + uuid.NewString()[:8]
	}
	c.MaxUnsettled = orDefault(c.MaxUnsettled, 2048)
	c.DrainTimeout = orDefault(c.DrainTimeout, 25*time.Second)
	c.AckInterval = orDefault(c.AckInterval, DefaultAckInterval)
	c.MaxStaged = orDefault(c.MaxStaged, 65_536)
	c.MaxStagedBytes = orDefault(c.MaxStagedBytes, 16<<20)
	return c, nil
}

func (c *SubscriptionConfig) check(f Features) error {
	const at = "SubscriptionConfig."
	switch {
	case c.Group == "":
		return invalid(at+"Group", "is empty")
	case len(c.Topics) == 0 || slices.Contains(c.Topics, ""):
		return invalid(at+"Topics", "is empty, or has an empty one")
	case c.Mode > ModeCompeting:
		return invalid(at+"Mode", "is unknown: %d", c.Mode)
	case c.Start > StartAtTime:
		return invalid(at+"Start", "is unknown: %d", c.Start)
	case (c.Start == StartAtTime) == c.StartTime.IsZero():
		return invalid(at+"StartTime", "goes with StartAtTime")
	case c.MaxUnsettled < 0:
		return invalid(at+"MaxUnsettled", "is negative")
	case c.DrainTimeout < 0:
		return invalid(at+"DrainTimeout", "is negative")
	case c.AckInterval < 0:
		return invalid(at+"AckInterval", "is negative")
	case c.MaxStaged < 0:
		return invalid(at+"MaxStaged", "is negative")
	case c.MaxStagedBytes < 0:
		return invalid(at+"MaxStagedBytes", "is negative")
	case c.Transactional && c.Mode != ModeOrdered:
		return invalid(at+"Transactional", "goes with ModeOrdered")
	case c.Transactional && !f.Transactions:
		return fmt.Errorf("%w: SubscriptionConfig.Transactional", ErrUnsupported)
	case c.Rejects && !f.Rejection:
		return fmt.Errorf("%w: SubscriptionConfig.Rejects", ErrUnsupported)
	case c.Mode == ModeCompeting && !f.Competing:
		return fmt.Errorf("%w: SubscriptionConfig.Mode ModeCompeting", ErrUnsupported)
	}
	return nil
}
