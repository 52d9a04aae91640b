package durable

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-go/troupe/brokers"
)

// ErrConflict says that a key's state is not the one that a unit was made from:
// somebody else has written it. Load it again.
var ErrConflict = errors.New("durable: state was changed by somebody else")

// Scope is a partition of a group: what one member owns at a time.
type Scope struct {
	Group, Topic string
	Partition    int32
}

// String is for logs and errors.
func (s Scope) String() string { return fmt.Sprintf("%s %s/%d", s.Group, s.Topic, s.Partition) }

// Record is a key's state as it is stored. The zero Record is none.
type Record struct {
	// Revision counts the states of the key, from 1.
	Revision uint64
	// Version is that of the state's form.
	Version int
	// State is the state, encoded.
	State []byte
}

// Unit is what messages of one key have led to.
type Unit struct {
	Scope Scope
	// Token is the one that the scope was acquired with.
	Token uint64
	Key   string
	// Revision is that of the state the unit was made from; 0 if there was none.
	// The unit's own is the next.
	Revision uint64
	// Version and State are the new state.
	Version int
	State   []byte
	// Handled are the ids of the messages, to be known as handled by the group.
	Handled []string
	// Messages are to be published, in order.
	Messages []brokers.Message
}

// Store keeps states. A state belongs to a group, a topic and a key. All methods
// may be called concurrently; an owner gives the units of a key one after the
// other.
type Store interface {
	// Acquire begins an epoch of a scope, and returns a token that is larger than
	// all before it. From then on units with an older one are refused.
	Acquire(ctx context.Context, scope Scope) (token uint64, err error)
	// Load returns the state of a key; the zero Record if there is none.
	Load(ctx context.Context, scope Scope, key string) (Record, error)
	// Commit stores units in one transaction, all or none, and makes what they
	// publish known to the relay. Without units it only shows whether the store
	// can be reached.
	//
	// The errors are [*FencedError], [*DuplicateError], [ErrConflict], or those of
	// the database. After one that leaves the outcome unknown the same units may
	// be committed again: they are duplicates or conflicts if they had been.
	Commit(ctx context.Context, units []Unit) error
	// Writers is how many commits the store works on at the same time: 1 if they wait
	// for each other. A subscription has no more than 2 under way, no key in both.
	Writers() int
}

// TxStore is a Store whose transactions a handler may work in.
type TxStore interface {
	Store
	// CommitTx begins a transaction, in which it checks the unit's token and records
	// its messages, as Commit does; then it calls f with the transaction, which fills
	// in State and Messages and may write to tables of its own; then it stores these
	// and commits. If f returns an error nothing is stored, and that is the error.
	// f is not called after a [*FencedError] or a [*DuplicateError]. The other errors
	// are those of Commit.
	CommitTx(ctx context.Context, u Unit, f func(tx any, u *Unit) error) error
	// TxType is the type of the transactions.
	TxType() reflect.Type
}

// FencedError says that a scope has another owner. Give it up.
type FencedError struct{ Scope Scope }

// Error names the scope.
func (e *FencedError) Error() string {
	return fmt.Sprintf("durable: %v has a newer owner", e.Scope)
}

// DuplicateError says that messages were handled before. Handle the others
// without them.
type DuplicateError struct {
	Group string
	// IDs of all messages of the units that were.
	IDs []string
}

// Error says how many.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("durable: %d messages were handled by group %q before", len(e.IDs), e.Group)
}
