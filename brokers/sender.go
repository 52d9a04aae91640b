package brokers

import "context"

// Sender is a driver's half of a [Publisher]: it puts messages on the wire and
// reports what became of each. Everything that is the same on every broker
// (order, windows, retries, limits, receipts, draining) is the Publisher's.
type Sender interface {
	// Partitions returns the partition count of a topic, from a cache where it
	// can. It blocks on the broker within ctx. It may be called concurrently.
	// ErrUnknownTopic says that there is no such topic.
	Partitions(ctx context.Context, topic string) (int, error)
	// Send takes messages, in order, and calls Done of each exactly once:
	// before it returns or later, from any goroutine, in any order. The
	// Publisher calls it from one goroutine at a time and never has more than
	// PublisherConfig.MaxInFlight messages out. Send may block while the
	// connection does; after ctx has ended it must return soon, with Done
	// called for what it did not take. It does not retry: it reports a
	// [SendError]; except with Features.SequencedPublish, where the driver must
	// send again by itself, in sequence, until ctx or the message's Context
	// ends. The batch slice is the caller's again when Send returns; the
	// *Outbound are the driver's until Done.
	Send(ctx context.Context, batch []*Outbound)
	// Flush sends now what the sender holds back to make larger batches.
	Flush()
	// Close releases what the sender holds, once nothing is in flight or the
	// Publisher gave up waiting: what is still out is reported Unknown.
	Close() error
}

// Staller is a [Sender] that can say why it does not get through now, as when
// the broker blocks the connection. The Publisher adds it to the errors of
// messages that it gives up.
type Staller interface {
	// Stalled returns nil while nothing is in the way. It does not block, and
	// may be called concurrently with everything.
	Stalled() error
}
