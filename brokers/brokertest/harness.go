package brokertest

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
)

// Harness tells the suite how to reach one broker and what it can do to it.
// Everything but Open is optional; a test that needs what is missing says so
// and is skipped.
type Harness struct {
	// Open opens one more connection to the server under test, as another
	// process would. The suite closes it. Servers that live in this process are
	// started before Run, or their goroutines count as leaked. Required.
	Open func(ctx context.Context) (brokers.Broker, error)
	// Name makes a name for a topic ("topic") or a group ("group") that nothing
	// else has used. Defaults to the kind and a UUID.
	Name func(kind string) string
	// MaxMessageBytes is the largest message, by Message.Size, that the server
	// takes; the suite sends one of 1 MiB or of this, whichever is less.
	// Defaults to 1 MiB.
	MaxMessageBytes int
	// RefusedBytes is a size, by Message.Size, that the server is known to
	// refuse. Defaults to 0: no test of the server's own limit.
	RefusedBytes int
	// CreatesTopics says that publishing to a topic that does not exist makes it.
	// Defaults to false: it is ErrUnknownTopic.
	CreatesTopics bool

	// Wait bounds the wait for anything that must happen. Defaults to 30 s.
	Wait time.Duration
	// Quiet is how long the suite watches that something does not happen.
	// Defaults to 300 ms.
	Quiet time.Duration
	// Lease is how long an owner that does nothing keeps its partitions on the
	// strength of the last time; the tests of pausing outlast it. Defaults to 0.
	Lease time.Duration
	// BalanceWithin is how long members may take to be within one of even.
	// Defaults to 15 s.
	BalanceWithin time.Duration

	// Kill cuts the connection off for ever and without a goodbye, as the server
	// sees a process that dies. The suite still closes b.
	Kill func(b brokers.Broker) error
	// Disconnect cuts the connection until reconnect is called. The server must
	// stay up, and other connections with it.
	Disconnect func(b brokers.Broker) (reconnect func() error, err error)
	// Breaks are faults, by name, that a driver must mend by itself: the server
	// restarts, the consumer is deleted, the member is expelled. Each is done
	// once while a group reads a topic, and must leave that to go on.
	Breaks map[string]func(topic, group string) error

	// Only are the groups of tests to run, such as "Publish", for a part of a
	// driver. Defaults to all.
	Only []string
	// Skip names tests that this broker cannot pass, each with the reason.
	Skip map[string]string
	// Leaks are goroutines that are not the driver's. Defaults to none; those
	// that ran before Run are left out anyway.
	Leaks []goleak.Option
}

func (h Harness) withDefaults(t *testing.T) Harness {
	t.Helper()
	if h.Open == nil {
		t.Fatal("brokertest: Harness.Open is nil")
	}
	if h.Name == nil {
		h.Name = func(kind string) string { return kind + "-" + uuid.NewString() }
	}
	h.MaxMessageBytes = min(cmp.Or(h.MaxMessageBytes, 1<<20), 1<<20)
	h.Wait = cmp.Or(h.Wait, 30*time.Second)
	h.Quiet = cmp.Or(h.Quiet, 300*time.Millisecond)
	h.BalanceWithin = cmp.Or(h.BalanceWithin, 15*time.Second)
	return h
}
