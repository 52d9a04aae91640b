package brokers

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Driver opens brokers of one kind. Each driver package has it as a variable of
// that name; nothing registers itself.
type Driver struct {
	// Schemes are those of its DSNs, in lower case: "amqp", "amqps".
	Schemes []string
	// Host, if set, is the only host that it opens, and no driver without a Host
	// gets: "embedded", for nats://embedded.
	Host string
	// Open opens the broker of a DSN. It calls dsn.Finish before it does
	// anything that costs, and returns once one endpoint was verified, within
	// ctx; a failure there is an [*OpenError].
	Open func(ctx context.Context, dsn *DSN) (Broker, error)
}

// Open opens the broker that dsn names, with the driver for its scheme. It
// returns once one endpoint was verified, or an error that says what is wrong:
// [ErrInvalid], with all that is wrong in dsn, or an [*OpenError]. No error
// contains user or password.
func Open(ctx context.Context, dsn string, drivers ...Driver) (Broker, error) {
	d, err := ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	driver, err := choose(d, drivers)
	if err != nil {
		return nil, err
	}
	return driver.Open(ctx, d)
}

// choose returns the driver for d; one that names the host goes before one that
// opens any.
func choose(d *DSN, drivers []Driver) (*Driver, error) {
	var chosen *Driver
	for i := range drivers {
		x := &drivers[i]
		if !slices.Contains(x.Schemes, d.Scheme) || x.Host != "" && !slices.Equal(d.Hosts, []string{x.Host}) {
			continue
		}
		switch {
		case chosen == nil || chosen.Host == "" && x.Host != "":
			chosen = x
		case chosen.Host == x.Host:
			return nil, fmt.Errorf("%w: two drivers open %s://%s", ErrInvalid, d.Scheme, x.Host)
		}
	}
	if chosen == nil {
		return nil, fmt.Errorf("%w: no driver opens %s; there are: %s", ErrInvalid, d, known(drivers))
	}
	return chosen, nil
}

// known lists what drivers open.
func known(drivers []Driver) string {
	if len(drivers) == 0 {
		return "none, as no driver was given"
	}
	var names []string
	for i := range drivers {
		for _, scheme := range drivers[i].Schemes {
			names = append(names, scheme+"://"+drivers[i].Host)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// The steps of opening.
const (
	StepResolve = "resolve"
	StepDial    = "dial"
	StepTLS     = "TLS"
	StepAuth    = "authenticate"
	StepVerify  = "verify" // it answers, but not as it should
)

// OpenError says at which endpoint and in which step opening failed.
type OpenError struct {
	// Endpoint is host and port, or a URL without user and password.
	Endpoint string
	// Step is one of the Step constants, or a driver's own.
	Step string
	// Err is the cause, without user and password.
	Err error
}

// Error names endpoint and step.
func (e *OpenError) Error() string {
	return fmt.Sprintf("brokers: open %s: %s: %v", e.Endpoint, e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }
