package embedded

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// Sync says when the server has the operating system write to the disk.
type Sync uint8

const (
	// SyncInterval: every two minutes, and when it is shut down. What was
	// confirmed survives a crash of the process, kill -9 included, but not one
	// of the operating system or a loss of power.
	SyncInterval Sync = iota
	// SyncAlways: before each confirmation. What was confirmed survives all of
	// these. Publishing is some ten times slower.
	SyncAlways
)

// Config is the server, and the connection to it.
type Config struct {
	// Dir is where the server keeps its files. It is made where it is missing,
	// and locked: a second server on it gets [ErrInUse]. Required.
	Dir string
	// Sync is what confirmed messages survive. Defaults to SyncInterval.
	Sync Sync
	// MaxPayload is the largest message, headers included, in bytes. Defaults to
	// 1 MiB and 64 KiB.
	MaxPayload int
	// StartTimeout bounds the start, in which the store is read. Defaults to
	// 30 s.
	StartTimeout time.Duration
	// NATS is the driver's own config. Its servers and login are not used.
	NATS nats.Config
}

// complete fills in defaults, or names the field that makes no sense.
func (c Config) complete() (Config, error) {
	field := ""
	switch {
	case c.Dir == "":
		field = "Dir is empty"
	case c.Sync > SyncAlways:
		field = "Sync is unknown"
	case c.MaxPayload < 0 || c.MaxPayload > math.MaxInt32:
		field = "MaxPayload is negative or too large"
	case c.StartTimeout < 0:
		field = "StartTimeout is negative"
	}
	if field != "" {
		return c, fmt.Errorf("%w: embedded.Config.%s", brokers.ErrInvalid, field)
	}
	c.MaxPayload = cmp.Or(c.MaxPayload, 1<<20+64<<10)
	c.StartTimeout = cmp.Or(c.StartTimeout, startTimeout)
	return c, nil
}
