package brokers

import (
	"context"
	"time"
)

// Broker is an open connection to one message broker. A driver implements it;
// users get one from [Open] or from the driver's own constructor.
//
// All methods may be called concurrently.
type Broker interface {
	// Name is the driver's name in logs and metrics, as OpenTelemetry's
	// messaging.system has it: "kafka", "rabbitmq", "nats", "memory".
	Name() string
	// Features says what this broker can do. It never changes.
	Features() Features
	// Publisher makes a publisher of its own window, buffer and order. It does
	// no I/O. A contradictory config is an error that names the field.
	Publisher(cfg PublisherConfig) (*Publisher, error)
	// Subscribe joins a group. It may do I/O within ctx; it returns before any
	// partition is owned, and also while the topics do not exist yet. A broker
	// that stores per group begins to store for this one then, or as soon as the
	// topic exists. Afterwards ctx no longer matters: the subscription lives
	// until its Close.
	Subscribe(ctx context.Context, cfg SubscriptionConfig) (Subscription, error)
	// EnsureTopic makes the topic where it is missing and checks it where it
	// exists: another partition count is an error that names both counts, and a
	// name that the broker does not allow is ErrInvalid. It never alters or
	// deletes. It returns when the topic can be published to.
	EnsureTopic(ctx context.Context, cfg TopicConfig) error
	// Health says what is true now, from what the driver knows; it asks the
	// broker at most once for each partition owned, and returns by ctx's
	// deadline.
	Health(ctx context.Context) Health
	// Close closes publishers and subscriptions that are still open without
	// waiting for their drain, then the connections. A second Close returns nil.
	Close() error
}

// TopicConfig describes a topic of partitions to make or check.
type TopicConfig struct {
	// Name of the topic. Required.
	Name string
	// Partitions is how many ordered streams it has. Changing it later breaks
	// the order of keys. Defaults to 12.
	Partitions int
	// Groups are consumer groups whose messages must be kept from now on, on
	// brokers that store per group rather than per topic (RabbitMQ queues);
	// without any, publishing to the topic is ErrUnroutable there. Elsewhere a
	// group with StartEarliest finds what was published before it came.
	Groups []string
	// Competing are the same for groups whose members compete (ModeCompeting): on
	// a broker that stores per group these have one queue, not one per partition.
	Competing []string
}

// Features is what a broker can do; the conformance suite and the runtime adapt
// to it.
type Features struct {
	// IndividualAcks: messages above a gap can be acknowledged singly. False
	// means only a prefix can (Kafka), and MaxGap bounds what lies above it.
	IndividualAcks bool
	// SequencedPublish: the broker stores messages of a partition in the order
	// of sending even when some are sent again (Kafka idempotence), so a window
	// keeps order. False means one unconfirmed message per key.
	SequencedPublish bool
	// Transactions: subscriptions can be Transactional, see [Stager].
	Transactions bool
	// Competing: subscriptions in ModeCompeting are possible.
	Competing bool
	// Durable: published messages survive a restart of the broker.
	Durable bool
	// Balanced: the broker itself shares partitions over members (Kafka).
	Balanced bool
	// DeliveryCount: Message.DeliveryCount is counted by the broker.
	DeliveryCount bool
	// Deduplication: a second publish of an ID within the broker's window is
	// confirmed and stored once.
	Deduplication bool
	// TTL and Priority: the field of that name is honoured.
	TTL, Priority bool
	// RequestReply: the broker implements [Requests].
	RequestReply bool
	// Rejection: subscriptions can have Rejects, as the broker itself dead-letters
	// what is rejected.
	Rejection bool
	// MaxUnacknowledged is the longest a message may stay unsettled before the
	// broker takes the partition away, counted from when the driver has it,
	// fetched or not; 0 is for ever. Parking ends at half of it.
	MaxUnacknowledged time.Duration
}

// Health is a broker connection's state.
type Health struct {
	// Connected says whether the broker can be reached now.
	Connected bool
	// Err is why not, or what is degraded; nil when all is well.
	Err error
	// Since is when Connected last changed.
	Since time.Time
	// Subscriptions are the open ones.
	Subscriptions []SubscriptionHealth
}

// SubscriptionHealth is one subscription's state.
type SubscriptionHealth struct {
	Group  string
	Topics []string
	State  SubscriptionState
	// Err is the fault that keeps it from progressing, or what it had to pass
	// over: messages that the broker lost before they were read. Nil if none.
	Err error
	// Partitions are those owned now.
	Partitions []PartitionHealth
}

// PartitionHealth is an owned partition's state.
type PartitionHealth struct {
	Topic     string
	Partition int32
	Epoch     uint64
	// Lag is how many messages wait in the broker behind the last fetched one,
	// or more where the log has gaps; -1 where the driver does not know.
	Lag int64
}

// SubscriptionState is how far a subscription has come.
type SubscriptionState uint8

// The states of a subscription.
const (
	// StateConnecting: joining, rejoining or reconnecting.
	StateConnecting SubscriptionState = iota
	// StateNoPartitions: joined, but no topic of it exists yet.
	StateNoPartitions
	// StateStandby: attached, and owns nothing as far as the broker has shown,
	// which some brokers do with the first message only.
	StateStandby
	// StateOwning: owns at least one partition.
	StateOwning
	// StateClosed: closed, or closing.
	StateClosed
)

// String returns the state in lower case.
func (s SubscriptionState) String() string {
	switch s {
	case StateConnecting:
		return "connecting"
	case StateNoPartitions:
		return "no partitions"
	case StateStandby:
		return "standby"
	case StateOwning:
		return "owning"
	case StateClosed:
		return "closed"
	}
	return "unknown"
}
