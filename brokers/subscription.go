package brokers

import (
	"context"
	"time"
)

// Mode is how a subscription shares its topics with the other members of its
// group.
type Mode uint8

const (
	// ModeOrdered gives each partition to one member at a time.
	ModeOrdered Mode = iota
	// ModeCompeting gives each message to any member: no order, no keys. Each
	// subscription then has a single partition per topic, of id 0, which no
	// other member's ownership excludes.
	ModeCompeting
)

// StartAt is where a group begins that has no position yet.
type StartAt uint8

// The beginnings.
const (
	StartEarliest StartAt = iota // the oldest message that the broker has for it
	StartLatest                  // what is published after the group has joined
	StartAtTime                  // the oldest message that is not older than StartTime
)

// SubscriptionConfig joins a group to topics.
type SubscriptionConfig struct {
	// Group shares the work: each partition is owned by one of its members.
	// Required.
	Group string
	// Topics to read. Required. A topic may be made later.
	Topics []string
	// Member names this member to operators. Defaults to host name and a
	// random suffix.
	Member string
	// Mode is ordered or competing. Defaults to ModeOrdered.
	Mode Mode
	// Start is used where the group has no position; the driver stores the one
	// it chose before it delivers from it. A position that the broker no longer
	// has goes on at the oldest message, never at the newest, and shows in
	// Health. Defaults to StartEarliest.
	Start StartAt
	// StartTime is what StartAtTime begins at, by Message.Time, or by when the
	// broker stored the message where it looks for that (JetStream).
	StartTime time.Time
	// MaxUnsettled is how many messages of one partition the driver may have or
	// have handed out that no Ack has named, neither by UpTo nor in Above: the
	// broker's prefetch or pending limit. Drivers of brokers without such a limit
	// may ignore it. Defaults to 2,048.
	MaxUnsettled int
	// DrainTimeout is how long the owner of a partition may take between
	// Revoking and Close; the driver gives up the partition for it no sooner,
	// unless the broker forces it. Defaults to 25 s.
	DrainTimeout time.Duration
	// AckInterval is how long the driver may gather acknowledgements before it
	// sends them. Defaults to 10 ms where acknowledging is cheap; on Kafka to 1 s,
	// and to 100 ms where that is a transaction, which consumers wait for.
	AckInterval time.Duration

	// Rejects allows Ack.Rejected. It needs Features.Rejection, and a place where the
	// broker puts what is rejected: one that would drop it is refused, by Subscribe
	// or, if that shows later, by Accept. Defaults to false.
	Rejects bool

	// Transactional makes each partition a [Stager]. It needs
	// Features.Transactions and ModeOrdered. Defaults to false.
	Transactional bool
	// MaxStaged and MaxStagedBytes bound what may be staged and not committed of
	// one partition before Fetch waits. Handlers that run then may yet exceed
	// them. Default to 65,536 messages and 16 MiB, by Message.Size.
	MaxStaged      int
	MaxStagedBytes int
}

// Subscription is a membership in a group. It is a listener: it accepts
// partitions, as a net.Listener accepts connections.
//
// Contract for drivers, which the runtime builds on:
//   - A member that shares a group must own what it accepted exclusively
//     (ModeOrdered); how long an owner that cannot be reached keeps others out
//     is the broker's matter.
//   - A partition is not offered again by this process until the owner closed
//     the partition it had before, so two epochs never overlap here.
//   - Lost connections, restarts and missing topics are the driver's to mend,
//     with jittered back-off, for ever. They show in Health. Accept returns an
//     error only for what no waiting mends.
type Subscription interface {
	// Accept blocks until this member owns one more partition, as the broker
	// has shown, which some brokers do with a partition's first message only. It
	// returns ctx's error when ctx ends, [ErrClosed] after Close, or a permanent
	// error (access denied, group of another kind), after which the subscription
	// is of no use but to be closed. One caller at a time.
	Accept(ctx context.Context) (Partition, error)
	// Partitions returns how many partitions the topic has, 0 if the driver
	// does not know yet. It never blocks.
	Partitions(topic string) int
	// Close leaves the group. It makes Accept return ErrClosed, closes Revoking
	// of every owned partition, waits until their owner closed them or ctx
	// ends, then ends what is left with cause ErrRevoked. It may be called
	// again, also during a Close: all calls return when the first has.
	Close(ctx context.Context) error
}

// FetchLimit bounds one Fetch.
type FetchLimit struct {
	// Messages is the most to return; at least 1.
	Messages int
	// Bytes is where to stop adding messages, by Message.Size. The first
	// message is returned whatever its size. 0 is no bound.
	Bytes int
}

// Partition is an ordered stream that this process owns for one epoch.
//
// Fetch may be called by one goroutine at a time; everything else at any time
// from anywhere.
type Partition interface {
	// Topic and ID name the stream.
	Topic() string
	ID() int32
	// Epoch is unique for topic and partition in this process, and grows. It
	// outlasts rebalances that leave the partition here.
	Epoch() uint64
	// Context ends when the epoch has ended: the partition was closed, lost, or
	// its lease may have run out. Its cause then is or wraps [ErrRevoked].
	// Handlers run under it.
	Context() context.Context
	// Revoking is closed when the partition is wanted back: a rebalance, or
	// Close of the subscription. The owner then starts nothing new, settles
	// what runs, acknowledges and calls Close, within DrainTimeout. An epoch may
	// also end with no such warning.
	Revoking() <-chan struct{}
	// Fetch blocks until there is a message, then returns those at hand, in
	// order, each once per epoch. The first message of an epoch is the first
	// one not acknowledged; what earlier owners acknowledged above it may be left
	// out. The slice and all in it belong to the caller; the driver does not
	// touch them again, but the payloads may share memory with each other. The
	// driver may hold more than limit asks for: up to MaxUnsettled messages, or a
	// batch of the broker.
	//
	// It returns ctx's error when ctx ends, losing nothing: a later Fetch goes
	// on. It returns ErrRevoked when Revoking is closed or the epoch has ended.
	// No other error is returned: the driver waits and mends.
	//
	// Not fetching is how an owner pauses: the driver keeps the ownership.
	Fetch(ctx context.Context, limit FetchLimit) ([]Message, error)
	// Ack says what is settled and need not be delivered again. It does not
	// block: the driver sends it within AckInterval, later ones standing for
	// earlier ones, and again after a lost connection if the epoch lives on. It
	// returns ErrRevoked if the epoch has ended, and then changes nothing.
	// Sent acknowledgements that fail are repeated or, where the broker says
	// that they are void (the ownership is lost, not merely renewed), end the
	// epoch.
	Ack(ack Ack) error
	// Close sends the last acknowledgements, waits until the broker has them as
	// far as it says, releases the partition and ends Context. If ctx ends first
	// Context ends at once, and the driver lets go in the background, but never
	// while an acknowledgement is on its way. An error means that messages
	// acknowledged before may be delivered again. A partition closed without
	// Revoking may be offered again at once. Later calls return the first one's
	// result.
	Close(ctx context.Context) error
}

// Ack is a set of settled messages of one epoch. Its offsets are of messages
// that Fetch of that epoch returned.
type Ack struct {
	// UpTo: every message of the epoch with Offset <= UpTo is settled.
	// NoOffset if that is none yet. It never goes down. The driver may move the
	// broker's position over what follows and is no message (markers, compacted
	// records).
	UpTo int64
	// Above are offsets above UpTo that were settled since the last Ack, in any
	// order; UpTo may pass them later. Brokers without individual acknowledgements
	// may ignore them, or keep them as a hint that spares repeats.
	Above []int64
	// Rejected are those of the messages settled since the last Ack, by UpTo or in
	// Above, that the broker is to dead-letter itself: it needs
	// SubscriptionConfig.Rejects. It is told of them before anything else is
	// acknowledged. A message whose rejection did not reach it is delivered again.
	Rejected []int64
}
