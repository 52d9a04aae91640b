package outbox

import (
	"time"

	"github.com/troupe-go/troupe/supervision"
)

// Event is something that happened to a relay, told to Config.Observe. The types
// of this file are all there are.
type Event interface{ event() }

type (
	// Leading: the relay has taken the lease.
	Leading struct{ Epoch int64 }
	// StoodDown: it leads no longer, and what it told of the lag is old.
	StoodDown struct{ Epoch int64 }
	// Published: the broker has confirmed so many messages. Waited is the time since
	// the first of them was stored.
	Published struct {
		Messages int
		Waited   time.Duration
	}
	// Parked: a message could not be published, and its lane waits. Attempts are those
	// of all relays, but one that was killed before it could store its own.
	Parked struct {
		Row     Row
		Failure supervision.Failure
		After   time.Duration
	}
	// DeadLettered: a message was refused, and its dead letter is confirmed.
	DeadLettered struct {
		Row     Row
		Failure supervision.Failure
		Reason  string
	}
	// Discarded: a message was refused, and given up as a rule said.
	Discarded struct {
		Row     Row
		Failure supervision.Failure
		Reason  string
	}
	// Overflowed: MaxParked lanes wait, and the next one that would have to holds up
	// all that comes behind it.
	Overflowed struct{ Row Row }
	// Lagging says what waits, every Config.LagEvery while the relay leads.
	Lagging struct{ Lag Lag }
)

func (Leading) event()      {}
func (StoodDown) event()    {}
func (Published) event()    {}
func (Parked) event()       {}
func (DeadLettered) event() {}
func (Discarded) event()    {}
func (Overflowed) event()   {}
func (Lagging) event()      {}

func (r *Relay) observe(e Event) {
	if r.cfg.Observe != nil {
		r.cfg.Observe(e)
	}
}
