package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/supervision"
)

// Event is something that happened to a subscription, told to Config.Observe.
// The types of this file are all there are.
type Event interface{ event() }

// Place is where something happened. Offset is brokers.NoOffset where no
// message is meant.
type Place struct {
	Group, Topic string
	Partition    int32
	Epoch        uint64
	Offset       int64
	Key          []byte
	ID           string
}

// String names the place for logs and errors.
func (p Place) String() string {
	return fmt.Sprintf("group %q, topic %q, partition %d, offset %d, key %q", p.Group, p.Topic, p.Partition, p.Offset, p.Key)
}

type (
	// PartitionAssigned: a partition is owned, its epoch begins.
	PartitionAssigned struct{ Place }
	// PartitionRevoked: a partition was given back after its drain.
	PartitionRevoked struct {
		Place
		GivenBack int
	}
	// PartitionLost: an epoch ended without warning; its unsettled messages go
	// to the next owner.
	PartitionLost struct {
		Place
		GivenBack int
	}
	// Acknowledged: the driver was told that all up to UpTo, and Above further
	// messages, are settled.
	Acknowledged struct {
		Place
		UpTo  int64
		Above int
	}
	// Handled: the handler returned nil. The message is decided now, and settled
	// when what it staged is confirmed. Took is the attempt's time, as in the
	// events of failures.
	Handled struct {
		Place
		Attempt int
		Took    time.Duration
	}
	// Retried: an attempt failed; the next is After from now.
	Retried struct {
		Place
		Failure supervision.Failure
		Attempt int
		After   time.Duration
		Took    time.Duration
	}
	// Parked: an attempt failed and the key waits, reported, at the longest
	// back-off.
	Parked struct {
		Place
		Failure supervision.Failure
		Attempt int
		After   time.Duration
		Took    time.Duration
	}
	// DeadLettered: the dead letter is confirmed, the message settled.
	DeadLettered struct {
		Place
		Failure supervision.Failure
		Reason  string
		Took    time.Duration
	}
	// Discarded: the message is settled unhandled, as a rule said.
	Discarded struct {
		Place
		Failure supervision.Failure
		Reason  string
		Took    time.Duration
	}
	// Suspended: an infrastructure fault opened the breaker of a subscription.
	Suspended struct {
		Group string
		Err   error
	}
	// Resumed: the breaker's probe went well.
	Resumed struct{ Group string }
	// Overflowed: a partition is at a limit because of a parked key, and holds,
	// or gives the key up.
	Overflowed struct {
		Place
		Limit   string // MaxParked, MaxGap or MaxParkTime
		GivenUp bool
	}
	// ChildSpawned: a key has made a child of that name. Key is the actor's.
	ChildSpawned struct {
		Place
		Name  string
		Child *actor.PID
	}
)

func (PartitionAssigned) event() {}
func (PartitionRevoked) event()  {}
func (PartitionLost) event()     {}
func (Acknowledged) event()      {}
func (Handled) event()           {}
func (Retried) event()           {}
func (Parked) event()            {}
func (DeadLettered) event()      {}
func (Discarded) event()         {}
func (Suspended) event()         {}
func (Resumed) event()           {}
func (Overflowed) event()        {}
func (ChildSpawned) event()      {}

// Observers makes one Config.Observe of several. Each is told of every event, in
// the order given.
func Observers(observers ...func(Event)) func(Event) {
	return func(e Event) {
		for _, observe := range observers {
			observe(e)
		}
	}
}

// observe tells the user of an event, which is made only if somebody listens.
func (s *System) observe(event func() Event) {
	if s.cfg.Observe != nil {
		s.cfg.Observe(event())
	}
}

func (r *region) observe(event func() Event) { r.sub.sys.observe(event) }
