package brokers

import (
	"fmt"
	"time"
)

// Order is what a publisher keeps in order.
type Order uint8

const (
	// OrderPerKey: messages of one key are stored in the order of their
	// publishing, across retries. Where the broker does not sequence
	// (Features.SequencedPublish), one message per key is unconfirmed at a time,
	// and many keys are in flight; messages without a key are ordered like those
	// of one key, for each partition. The key is that of [ByKey], and with
	// another partitioner Message.Key.
	OrderPerKey Order = iota
	// OrderNone: the whole window is in flight; a retried message may be stored
	// behind its successors.
	OrderNone
)

// PublisherConfig is a publisher's window and promises.
type PublisherConfig struct {
	// Order defaults to OrderPerKey.
	Order Order
	// Partitioner chooses the partition. Defaults to ByKey(MessageKey).
	Partitioner Partitioner
	// MaxInFlight is how many messages may be unconfirmed at the broker.
	// Defaults to 4,096, or MaxBuffered if that is less.
	MaxInFlight int
	// MaxBuffered and MaxBufferedBytes bound what is accepted and not yet
	// confirmed, in flight included; over it Publish and PublishAsync wait,
	// first come, first served. Default to 65,536 messages and 64 MiB.
	MaxBuffered      int
	MaxBufferedBytes int
	// MaxMessageBytes refuses larger messages locally, by Message.Size.
	// Defaults to 1 MiB, or MaxBufferedBytes if that is less.
	MaxMessageBytes int
	// DeliveryTimeout is when a message published asynchronously is given up,
	// counted from its acceptance: what is not in flight then is not sent any
	// more, what is in flight is reported Unknown. Negative is never. Defaults
	// to 2 min, as Kafka's delivery.timeout.ms.
	DeliveryTimeout time.Duration
	// RetryMin and RetryMax bound the back-off between retries, which doubles
	// and is jittered. Where the driver retries (Features.SequencedPublish),
	// they are of no effect. Default to 50 ms and 5 s, or to each other if only
	// one is set and the default of the other contradicts it.
	RetryMin, RetryMax time.Duration
}

const (
	defaultMaxInFlight      = 4096
	defaultMaxBuffered      = 65536
	defaultMaxBufferedBytes = 64 << 20
	defaultMaxMessageBytes  = 1 << 20
	defaultDeliveryTimeout  = 2 * time.Minute
	defaultFirstBackoff     = 50 * time.Millisecond
	defaultLongestBackoff   = 5 * time.Second
)

// invalid is a broken rule, by the field that breaks it.
func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrInvalid, field, fmt.Sprintf(format, args...))
}

func (c *PublisherConfig) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxInFlight", c.MaxInFlight},
		{"MaxBuffered", c.MaxBuffered},
		{"MaxBufferedBytes", c.MaxBufferedBytes},
		{"MaxMessageBytes", c.MaxMessageBytes},
		{"RetryMin", int(c.RetryMin)},
		{"RetryMax", int(c.RetryMax)},
	} {
		if f.value < 0 {
			return invalid("PublisherConfig."+f.name, "is negative")
		}
	}
	exceeds := func(a, b int) bool { return b > 0 && a > b }
	switch {
	case c.Order > OrderNone:
		return invalid("PublisherConfig.Order", "is unknown: %d", c.Order)
	case exceeds(c.MaxInFlight, c.MaxBuffered):
		return invalid("PublisherConfig.MaxInFlight", "is %d, more than MaxBuffered, %d", c.MaxInFlight, c.MaxBuffered)
	case exceeds(c.MaxMessageBytes, orDefault(c.MaxBufferedBytes, defaultMaxBufferedBytes)):
		return invalid("PublisherConfig.MaxMessageBytes", "is %d, more than MaxBufferedBytes", c.MaxMessageBytes)
	case exceeds(int(c.RetryMin), int(c.RetryMax)):
		return invalid("PublisherConfig.RetryMin", "is %v, more than RetryMax, %v", c.RetryMin, c.RetryMax)
	}
	return nil
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	if c.Partitioner == nil {
		c.Partitioner = ByKey(MessageKey)
	}
	c.MaxBuffered = orDefault(c.MaxBuffered, max(defaultMaxBuffered, c.MaxInFlight))
	c.MaxInFlight = orDefault(c.MaxInFlight, min(defaultMaxInFlight, c.MaxBuffered))
	c.MaxBufferedBytes = orDefault(c.MaxBufferedBytes, defaultMaxBufferedBytes)
	c.MaxMessageBytes = orDefault(c.MaxMessageBytes, min(defaultMaxMessageBytes, c.MaxBufferedBytes))
	c.DeliveryTimeout = orDefault(c.DeliveryTimeout, defaultDeliveryTimeout)
	c.RetryMax = orDefault(c.RetryMax, max(defaultLongestBackoff, c.RetryMin))
	c.RetryMin = orDefault(c.RetryMin, min(defaultFirstBackoff, c.RetryMax))
	return c
}

// orDefault is v, or def where v is not set.
func orDefault[T comparable](v, def T) T {
	var unset T
	if v == unset {
		return def
	}
	return v
}
