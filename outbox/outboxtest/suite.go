// Package outboxtest is what every store of an outbox is tested by: its promises,
// one test for each, on a database that the store's own tests open.
//
//	func TestStore(t *testing.T) {
//		outboxtest.Run(t, func(t *testing.T) []outboxtest.Store { ... })
//	}
package outboxtest

import (
	"context"
	"testing"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

// Store is a store under test, as one process has it.
type Store struct {
	Source outbox.Source
	States durable.TxStore
	// InTx is the store's.
	InTx func(ctx context.Context, f func(tx Tx) error) error
	// Wrap makes a Tx of what the function of States.CommitTx is given.
	Wrap func(tx any) Tx
	// Int is the one number that a query returns.
	Int func(ctx context.Context, query string) (int64, error)
	// Pruner is the store.
	Pruner outbox.Pruner
}

// Tx is a transaction of the store.
type Tx interface {
	Append(ctx context.Context, messages ...brokers.Message) error
	Seen(ctx context.Context, consumer, id string) (before bool, err error)
	SeenAt(ctx context.Context, consumer, source string, partition int32, offset int64) (before bool, err error)
	Exec(ctx context.Context, statement string) error
}

// Route is to be the Route of the stores' config.
func Route(messageType string) (topic string) {
	if messageType == "" {
		return ""
	}
	return "of " + messageType
}

// Open makes an empty database, and opens it twice, as two processes would, with
// [Route]. It closes both when the test ends.
type Open func(t *testing.T) []Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"Outbox", testOutbox},
		{"AppendRefuses", testAppendRefuses},
		{"OutboxUnderLoad", testOutboxUnderLoad},
		{"Lease", testLease},
		{"Poison", testPoison},
		{"PoisonRestarts", testPoisonRestarts},
		{"Parked", testParked},
		{"HeldAcrossBatches", testHeldAcrossBatches},
		{"Routes", testRoutes},
		{"Unreadable", testUnreadable},
		{"LongParked", testLongParked},
		{"MaxParked", testMaxParked},
		{"PolicyStops", testPolicyStops},
		{"BrokerDown", testBrokerDown},
		{"Retention", testRetention},
		{"Inbox", testInbox},
		{"Offsets", testOffsets},
		{"States", testStates},
		{"Group", testGroup},
		{"CommitTx", testCommitTx},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}
