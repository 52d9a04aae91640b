package brokers

import (
	"context"
	"time"
)

// Driver opens brokers of one kind.
type Driver struct {
	// Schemes are those of its DSNs: "amqp", "amqps".
	Schemes []string
	// Host, if set, restricts it to DSNs of that one host, which then no driver
	// without Host gets.
	Host string
	// Open opens the broker.
	Open func(ctx context.Context, dsn *DSN) (Broker, error)
}

// Open opens the broker that dsn names with the driver for its scheme.
func Open(ctx context.Context, dsn string, drivers ...Driver) (Broker, error) {
	return nil, ErrUnsupported
}

// DSN is a parsed data source name.
type DSN struct {
	Scheme   string
	Hosts    []string
	User     string
	Password Secret
	Path     string
}

// ParseDSN parses a data source name.
func ParseDSN(text string) (*DSN, error) { return nil, ErrUnsupported }

// String is the DSN without user and password.
func (d *DSN) String() string { return "" }

// String reads a text option.
func (d *DSN) Text(name, def string) string { return def }

// Int reads a whole number option between least and most.
func (d *DSN) Int(name string, def, least, most int) int { return def }

// Duration reads a duration option.
func (d *DSN) Duration(name string, def time.Duration) time.Duration { return def }

// Bool reads a truth option.
func (d *DSN) Bool(name string, def bool) bool { return def }

// Enum reads an option that has one of the values.
func (d *DSN) Enum(name, def string, values ...string) string { return def }

// Bytes reads a size option.
func (d *DSN) Bytes(name string, def int) int { return def }

// Finish reports all errors of the options, and those that nobody read.
func (d *DSN) Finish() error { return nil }

// OpenError says at which endpoint and in which step opening failed.
type OpenError struct {
	Endpoint string
	Step     string
	Err      error
}

// Error names endpoint and step.
func (e *OpenError) Error() string { return "" }

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }
