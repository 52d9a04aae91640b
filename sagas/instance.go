package sagas

import (
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Status is how far an instance has come.
type Status uint8

const (
	// Running: it goes forward.
	Running Status = iota + 1
	// Compensating: it goes back.
	Compensating
	// Stuck: it waits for an operator, who finds out what became of a step.
	Stuck
	// Completed: every step was done, or passed over.
	Completed
	// Compensated: everything that was done was undone.
	Compensated
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Running:
		return "running"
	case Compensating:
		return "compensating"
	case Stuck:
		return "stuck"
	case Completed:
		return "completed"
	case Compensated:
		return "compensated"
	}
	return "no status"
}

// Ended says whether nothing more will happen.
func (s Status) Ended() bool { return s == Completed || s == Compensated }

// Outcome is what became of a step.
type Outcome uint8

const (
	// Untouched: it was not reached.
	Untouched Outcome = iota
	// PassedOver: its When said no, or an operator skipped it.
	PassedOver
	// Intended: it was or will be asked for. What came of it is not known yet.
	Intended
	// Done: it was accepted, or resolved by an operator.
	Done
	// NotDone: it was rejected.
	NotDone
	// Unknown: it may have been done.
	Unknown
	// Undone: it was compensated.
	Undone
	// Left: an operator had its compensation skipped.
	Left
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Untouched:
		return "untouched"
	case PassedOver:
		return "passed over"
	case Intended:
		return "intended"
	case Done:
		return "done"
	case NotDone:
		return "not done"
	case Unknown:
		return "unknown"
	case Undone:
		return "undone"
	case Left:
		return "left"
	}
	return "no outcome"
}

// Instance is one saga. It is plain data, to be stored as a whole.
type Instance[S any] struct {
	ID         string
	Definition string
	Version    int
	Status     Status
	State      S
	// Outcomes are those of the definition's steps.
	Outcomes []Outcome
	// Work is what the instance is at. It is also what a stuck one is stuck at.
	Work Work
	// Reason is why it goes back, or why it is stuck.
	Reason string
	// Cancelled is why it is to go back as soon as the outcome of its current
	// step is known.
	Cancelled string
	// Queries is how many were begun. An answer to an earlier one may have been
	// true then, and is not taken for one to the latest.
	Queries int
	// Token is the one of the timer that was set last.
	Token uint64
	// Trace are headers that all messages of the instance carry: see Config.Trace.
	Trace brokers.Headers `json:",omitzero"`
	// Began, and when it is cancelled if it has not passed its pivot.
	Began, Deadline time.Time
}

// Work is an action under way.
type Work struct {
	Step    int
	Verb    Verb
	Attempt int // from 1
	// Since is when its first attempt began.
	Since time.Time
	// Awaiting: a result is due by the time of the timer. Otherwise the next
	// attempt is.
	Awaiting bool
}

// clone shares nothing with the instance but its state.
func (i *Instance[S]) clone() Instance[S] {
	c := *i
	c.Outcomes = append([]Outcome(nil), i.Outcomes...)
	return c
}

// key is the idempotency key of an action: the same for all of its attempts.
func (i *Instance[S]) key(step string, v Verb) string {
	key := i.Definition + "/" + i.ID + "/" + step + "/" + v.String()
	if v == Query {
		key += "-" + strconv.Itoa(i.Queries)
	}
	return key
}

// ParseKey takes an idempotency key apart. A saga's id may have slashes in it,
// its definition's name and its steps' may not.
func ParseKey(key string) (definition, id, step string, v Verb, ok bool) {
	definition, rest, ok1 := strings.Cut(key, "/")
	at := strings.LastIndexByte(rest, '/')
	if !ok1 || at < 0 {
		return "", "", "", 0, false
	}
	rest, verb := rest[:at], rest[at+1:]
	if at = strings.LastIndexByte(rest, '/'); at < 0 {
		return "", "", "", 0, false
	}
	id, step = rest[:at], rest[at+1:]
	verb, _, _ = strings.Cut(verb, "-")
	for _, v = range []Verb{Do, Undo, Query} {
		if v.String() == verb {
			return definition, id, step, v, true
		}
	}
	return "", "", "", 0, false
}
