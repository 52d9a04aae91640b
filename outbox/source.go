package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// ErrLeaseLost says that another relay has the lease. The relay stands by.
var ErrLeaseLost = errors.New("outbox: lease lost")

// ErrNoID is returned for a message that has no id where one is needed: a repeat
// of it could not be told.
var ErrNoID = errors.New("outbox: message has no id")

// Row is a stored message.
type Row struct {
	// Seq grows, for each key, in the order of commits.
	Seq     int64
	Message brokers.Message
	// At is when it was stored.
	At time.Time
}

// Source is the store's half of a [Relay]. Its methods may be called
// concurrently: the lease is renewed while rows are read and published.
type Source interface {
	// Lease takes or keeps the lease for a relay of that name until so long from
	// now, and returns its epoch, which grows with each change of the holder. If
	// another relay has it the error is [ErrLeaseLost].
	Lease(ctx context.Context, relay string, length time.Duration) (epoch int64, err error)
	// Rows returns up to n rows after seq, in order, and before them those with a
	// smaller one that have become visible only now.
	Rows(ctx context.Context, after int64, n int) ([]Row, error)
	// Done forgets rows that were published, if the epoch still holds.
	Done(ctx context.Context, epoch int64, seqs []int64) error
	// Release gives the lease back.
	Release(ctx context.Context, epoch int64) error
	// Lag is how many rows wait, and since when the oldest of them.
	Lag(ctx context.Context) (Lag, error)
	// Woken is told of commits in this process.
	Woken() <-chan struct{}
}

// Lag is what waits to be published.
type Lag struct {
	Rows int64
	// Oldest is zero if there are none.
	Oldest time.Time
}

// stored is a message as it is kept: all that a publisher reads.
type stored struct {
	Topic         string
	Key           []byte
	ID            string
	Payload       []byte
	Headers       brokers.Headers
	Time          time.Time
	CorrelationID string
	ReplyTo       string
	ContentType   string
	TTL           time.Duration
	Priority      uint8
	RoutingKey    string
	Partition     int32
}

// Encode is how stores keep a message. One that no publisher would take is refused,
// as by [brokers.Check], and one without an id ([ErrNoID]).
func Encode(m *brokers.Message) ([]byte, error) {
	if m.ID == "" {
		return nil, fmt.Errorf("%w: to %q", ErrNoID, m.Topic)
	}
	if err := brokers.Check(m, 0); err != nil {
		return nil, err
	}
	data, err := json.Marshal(stored{
		m.Topic, m.Key, m.ID, m.Payload, m.Headers, m.Time, m.CorrelationID, m.ReplyTo, m.ContentType, m.TTL, m.Priority,
		m.RoutingKey, m.Partition,
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: encode message %q: %w", m.ID, err)
	}
	return data, nil
}

// Decode undoes Encode.
func Decode(data []byte) (brokers.Message, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return brokers.Message{}, fmt.Errorf("outbox: decode: %w", err)
	}
	return brokers.Message{
		Topic: s.Topic, Key: s.Key, ID: s.ID, Payload: s.Payload, Headers: s.Headers, Time: s.Time, CorrelationID: s.CorrelationID,
		ReplyTo: s.ReplyTo, ContentType: s.ContentType, TTL: s.TTL, Priority: s.Priority, RoutingKey: s.RoutingKey, Partition: s.Partition,
	}, nil
}
