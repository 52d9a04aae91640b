package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// ErrLeaseLost says that another relay has the lease. The relay stands by.
var ErrLeaseLost = errors.New("outbox: lease lost")

// Row is a stored message.
type Row struct {
	// Seq grows, for each lane, in the order of commits.
	Seq int64
	// Lane is that of [Entry]: rows of a lane are published one after the other.
	Lane    int64
	Message brokers.Message
	// At is when it was stored.
	At time.Time
	// Fault says why the message cannot be read; then Message is empty. The row's
	// lane waits until a program can read it.
	Fault error
	// Attempts is how often the broker has refused it, by all relays, and FailedAt
	// when it first did: of rows aside.
	Attempts int
	FailedAt time.Time
}

// Source is the store's half of a [Relay]. Its methods may be called
// concurrently: the lease is renewed while rows are read and published.
type Source interface {
	// Lease takes or keeps the lease for a relay of that name until so long from
	// now, and returns its epoch, which grows with each change of the holder. If
	// another relay has it the error is [ErrLeaseLost].
	Lease(ctx context.Context, relay string, length time.Duration) (epoch int64, err error)
	// Rows returns the first n rows that are neither done with nor aside, in order.
	Rows(ctx context.Context, n int) ([]Row, error)
	// Done forgets rows that are done with, those aside too, if the epoch still
	// holds.
	Done(ctx context.Context, epoch int64, seqs []int64) error
	// Park puts rows aside, if the epoch still holds: their lanes wait, for as long
	// as that takes, and are not to be read over and over meanwhile. Of those that
	// are aside already it keeps Attempts and FailedAt.
	Park(ctx context.Context, epoch int64, rows []Row) error
	// Lanes are those that have rows aside.
	Lanes(ctx context.Context) ([]int64, error)
	// Aside returns the first n rows of a lane that are aside, in order.
	Aside(ctx context.Context, lane int64, n int) ([]Row, error)
	// Release gives the lease back.
	Release(ctx context.Context, epoch int64) error
	// Lag is what waits. It takes about as long for many rows as for few.
	Lag(ctx context.Context) (Lag, error)
	// Woken is told of commits in this process.
	Woken() <-chan struct{}
}

// Lag is what waits to be published.
type Lag struct {
	// Rows is how many wait, with those aside. From 100,000 on it is an estimate
	// that may count rows that were rolled back.
	Rows int64
	// Aside is how many of them wait for a message that cannot be published.
	Aside int64
	// Gaps is how many numbers have neither a row nor, as far as is known, been
	// rolled back: many mean that a transaction that writes to the outbox is open
	// for long. They hold up nothing.
	Gaps int64
	// Oldest is when the oldest was stored, to within the order of commits; zero
	// if there are none.
	Oldest time.Time
}
