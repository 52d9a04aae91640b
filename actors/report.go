package actors

import (
	"fmt"
	"sync/atomic"

	"github.com/troupe-go/troupe/supervision"
)

// Report says what a system did between the start and the end of Run.
type Report struct {
	// Handled counts messages whose handler returned nil.
	Handled int64 `json:"handled"`
	// Retried counts failed attempts after which the message was to be tried
	// again, parked keys included.
	Retried int64 `json:"retried"`
	// DeadLettered counts messages whose dead letter the broker confirmed.
	DeadLettered int64 `json:"dead_lettered"`
	// Discarded counts messages that a rule or mark discarded.
	Discarded int64 `json:"discarded"`
	// GivenBack counts messages that were fetched and not settled: they are
	// delivered again, here or elsewhere. A handled one is among them if its
	// effects were not confirmed in time.
	GivenBack int64 `json:"given_back"`
	// Groups has the same by group, where there is more than one subscription.
	Groups map[string]Report `json:"groups,omitempty"`
}

// String is the report on one line.
func (r Report) String() string {
	return fmt.Sprintf("handled %d, retried %d, dead-lettered %d, discarded %d, given back %d",
		r.Handled, r.Retried, r.DeadLettered, r.Discarded, r.GivenBack)
}

type counts struct {
	handled, retried, deadLettered, discarded, givenBack atomic.Int64
}

func (c *counts) report() Report {
	return Report{
		Handled: c.handled.Load(), Retried: c.retried.Load(), DeadLettered: c.deadLettered.Load(),
		Discarded: c.discarded.Load(), GivenBack: c.givenBack.Load(),
	}
}

func (r Report) plus(o Report) Report {
	return Report{
		Handled: r.Handled + o.Handled, Retried: r.Retried + o.Retried,
		DeadLettered: r.DeadLettered + o.DeadLettered, Discarded: r.Discarded + o.Discarded,
		GivenBack: r.GivenBack + o.GivenBack,
	}
}

// StoppedError is what Run returns when a verdict stopped the system. The
// message is not acknowledged.
type StoppedError struct {
	// Place names the message.
	Place Place
	// Failure is what was judged, Reason why it stops the system.
	Failure supervision.Failure
	Reason  string
}

// Error names message and cause.
func (e *StoppedError) Error() string {
	return fmt.Sprintf("actors: stopped by %s: %v (%s)", e.Place, e.Failure.Err, e.Reason)
}

// Unwrap returns the handler's error.
func (e *StoppedError) Unwrap() error { return e.Failure.Err }
