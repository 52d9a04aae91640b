package brokers

import "context"

// Sender is a driver's half of a [Publisher]: it puts messages on the wire and
// reports what became of each. Everything that is the same on every broker
// (order, windows, retries, limits, receipts, draining) is the Publisher's.
type Sender interface {
	// Partitions returns the partition count of a topic, from a cache where it
	// can. It blocks on the broker within ctx. It may be called concurrently.
	// ErrUnknownTopic says that the broker, asked now, knows no such topic.
	Partitions(ctx context.Context, topic string) (int, error)
	// Send takes messages, in order, and calls Done of each exactly once (or
	// DoneAll of many): before it returns or later, from any goroutine, in any order. The
	// Publisher calls it from one goroutine at a time and never has more than
	// PublisherConfig.MaxInFlight messages out. Send may block while the
	// connection does; after ctx has ended it must return soon, with Done
	// called for what it did not take, and may cut the connection for that. The
	// batch slice is the caller's again when Send returns; the *Outbound are the
	// driver's until Done, and what it needs of one later it has copied; it may
	// give one an ID that has none. ctx is
	// the same in each Send, and ends when the Publisher gives up or is closed.
	//
	// It does not retry: it reports a [SendError], also when a connection or its
	// own time-out ends the wait for an answer. A message that the broker can
	// never take (a partition that does not exist, a name or a size that it does
	// not allow) is Refused before it can harm its neighbours.
	//
	// Except with Features.SequencedPublish: there the driver sends again by
	// itself, in sequence, until ctx or the message's Context ends. What may
	// have reached the broker is sent again as it was, as a whole; a message of
	// it whose Context ends is reported Unknown at once. If the sequence is lost
	// the driver reports Unknown, and begins a new one that fences the old.
	Send(ctx context.Context, batch []*Outbound)
	// Flush sends now what the sender holds back to make larger batches. It is
	// called like Send, and never concurrently with it.
	Flush()
	// Close releases what the sender holds. It is called once, after the last
	// Send and Flush have returned, when nothing is out or the Publisher gave up
	// waiting: what is still out it has reported, and the driver may call
	// Done of it or not.
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
