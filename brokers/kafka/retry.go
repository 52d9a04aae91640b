package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/backoff"
)

// transient says whether an error may pass by itself: a cold, restarted or moved
// node, a coordinator that loads, a lost connection.
func transient(err error) bool {
	var code kafkago.Error
	if errors.As(err, &code) {
		switch code {
		case kafkago.BrokerNotAvailable, kafkago.ReplicaNotAvailable, kafkago.ConcurrentTransactions:
			return true
		}
		return code.Temporary()
	}
	var open *brokers.OpenError
	return errors.Is(err, errConnection) || errors.As(err, &open)
}

// codeError is an error code of an answer as an error; nil for none.
func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafkago.Error(code)
}

// retry calls do until it succeeds, or fails for a reason that does not pass by
// itself, or ctx ends.
func (c *client) retry(ctx context.Context, do func() error) error {
	for failures := 0; ; failures++ {
		err := do()
		if err == nil || !transient(err) {
			return err
		}
		if !c.pause(ctx, failures) {
			if c.ctx.Err() != nil {
				return brokers.ErrClosed
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// pause waits after that many failures before the last. It is false if ctx, or
// the client, ended.
func (c *client) pause(ctx context.Context, failures int) bool {
	timer := time.NewTimer(c.cfg.backoff(failures))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// backoff is how long to wait after that many failures before the last.
func (c *Config) backoff(failures int) time.Duration {
	return backoff.Jittered(c.RetryMin, c.RetryMax, failures)
}
