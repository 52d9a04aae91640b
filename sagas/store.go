package sagas

import (
	"context"
	"errors"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var (
	// ErrNotFound says that there is no instance of that id. It was not started
	// yet, or has ended and been forgotten.
	ErrNotFound = errors.New("sagas: no such instance")
	// ErrConflict says that an instance is not at the revision that a unit was
	// made from. Load it again.
	ErrConflict = errors.New("sagas: instance was changed by somebody else")
	// ErrRepeat says that the message of a unit was handled before. It is done.
	ErrRepeat = errors.New("sagas: message was handled before")
	// ErrFull says that no more early replies are kept.
	ErrFull = errors.New("sagas: too many early replies")
	// ErrFenced says that another runner has begun under this one's name since.
	// This one can do nothing more: close it, and give each runner that is to run
	// at the same time a name of its own ([Config.Name]).
	ErrFenced = errors.New("sagas: another runner of this name has begun")
)

// Seat is a runner as the store knows it: who sits there may write.
type Seat struct {
	// Definition is the saga's name, and Name the runner's.
	Definition, Name string
	// Epoch counts the runners of that name, from 1.
	Epoch uint64
}

// Record is an instance as it is stored.
type Record struct {
	Definition, ID string
	// Version is that of the definition.
	Version int
	// Revision counts the transitions, from 1.
	Revision uint64
	Status   Status
	// Digest is of what the instance was started with.
	Digest []byte
	// Instance is the instance, encoded.
	Instance []byte
	// Timer is the instance's own, and Deadline that of the whole; zero if there
	// is none.
	Timer    Timer
	Deadline time.Time
	// Owner is the runner that has a Call of it under way; else empty.
	Owner string
	// Changed is the time of the last transition.
	Changed time.Time
}

// Due is the earlier of the timer and the deadline; zero if there is neither.
func (r *Record) Due() time.Time {
	if r.Timer.At.IsZero() || !r.Deadline.IsZero() && r.Deadline.Before(r.Timer.At) {
		return r.Deadline
	}
	return r.Timer.At
}

// Unit is a transition, to be stored as a whole.
type Unit struct {
	// Record is the instance after it, but for the Revision, which is that of the
	// instance before it: 0 if it is new.
	Record Record
	// Log is what happened.
	Log []Entry
	// Handled is the id of the message that led to it; empty if none did. If that
	// was kept as an early reply, it is no longer.
	Handled string
	// Messages are to be published, in order.
	Messages []brokers.Message
}

// Early is a reply that has come before its instance was started.
type Early struct {
	Definition, ID string
	Message        brokers.Message
	At             time.Time
	// Found says whether the instance is there by now.
	Found bool
}

// Selection selects instances. The zero value is all of a definition.
type Selection struct {
	// Statuses are those wanted. Defaults to all.
	Statuses []Status
	// Versions are those of the definition wanted. Defaults to all.
	Versions []int
	// Owner, if set, is the runner that has a Call of it under way.
	Owner string
	// After is the id after which to go on, in their order.
	After string
	// Limit is how many are wanted at the most. Defaults to 100.
	Limit int
}

// Store keeps instances, their log and timers, an inbox and early replies, and
// hands messages to an outbox, all in one database. All methods may be called
// concurrently. sagas/sagatest has a test for stores.
type Store interface {
	// Sit begins an epoch of a runner's name. It waits for commits of the runner
	// before, and those that come later are refused with [ErrFenced].
	Sit(ctx context.Context, definition, name string) (Seat, error)
	// Commit stores units in one transaction, and makes what they publish known
	// to the relay. Each has a verdict: nil, [ErrConflict] or [ErrRepeat], and
	// then nothing of it is stored. They are stored one after the other. The error
	// [ErrFenced] says that the seat is another's by now, and nothing was stored;
	// another one that nothing was, or that the outcome is unknown: to commit the
	// same units again is safe.
	Commit(ctx context.Context, by Seat, units []Unit) (verdicts []error, err error)
	// Writers is how many commits the store works on at the same time: 1 if they wait
	// for each other. A runner has no more than 2 under way.
	Writers() int
	// Load returns an instance, or [ErrNotFound].
	Load(ctx context.Context, definition, id string) (Record, error)
	// List returns instances in the order of their ids.
	List(ctx context.Context, definition string, q Selection) ([]Record, error)
	// Timeline returns what is logged of an instance, in order.
	Timeline(ctx context.Context, definition, id string) ([]Entry, error)
	// InFlight counts the instances that have not ended, by version.
	InFlight(ctx context.Context, definition string) (map[int]int64, error)
	// Claim returns up to n instances that were due at now, the longest due first,
	// and keeps them from other callers until the lease ends or they are changed.
	// next is when the next one is due; zero if none is.
	Claim(ctx context.Context, definition string, now time.Time, lease time.Duration, n int) (due []Record, next time.Time, err error)
	// Keep stores a reply whose instance was not found, unless so many are kept
	// for the definition: then the error is [ErrFull]. A repeat is kept once.
	Keep(ctx context.Context, early Early, limit int) error
	// Kept returns up to n early replies whose instance is there by now, or that
	// have come before the time, the oldest first.
	Kept(ctx context.Context, definition string, before time.Time, n int) ([]Early, error)
	// Discard forgets an early reply, and publishes a message instead, in one
	// transaction.
	Discard(ctx context.Context, early Early, instead ...brokers.Message) error
	// Prune forgets instances that have ended before the time, with their log, and
	// what the inbox recorded before it.
	Prune(ctx context.Context, definition string, before time.Time) (forgotten int64, err error)
}
