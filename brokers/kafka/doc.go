// Package kafka is the driver for Apache Kafka, from 2.1 on, over the protocol
// of github.com/segmentio/kafka-go.
//
//	broker, err := kafka.Open(ctx, kafka.Config{Seeds: []string{"kafka-1:9092"}})
//
// # Publishing
//
// With the default, [AcksAll], publishing is idempotent: the driver numbers the
// messages of each partition, sends a batch again until the cluster has answered
// it, and the cluster stores it once, in its place. So a key is in order while
// many of its messages are under way, across lost connections and moved leaders.
// A batch that the cluster refuses is halved until the message is found that is
// to blame, and that fails alone.
//
// A partition has one batch under way at a time, and many partitions share a
// request to their leader. What is published meanwhile makes the next batch, so
// that batches grow with the load; Config.Linger makes them larger still.
//
// Topics are never made by publishing to them: see Broker.EnsureTopic.
//
// # Consuming
//
// A subscription is a member of a consumer group of the classic protocol, beside
// members of any other client that have the same assignor. With the default,
// [AssignCooperativeSticky], an epoch outlasts the rebalances that leave its
// partition here: its keys keep their state, and do not stop.
//
// Of a partition the low-water mark is committed, under the membership by which
// it is owned, so that who was expelled can move nothing. What is settled above
// it goes as metadata of the position, as far as 3 KiB hold it: the next owner
// leaves that out. Epochs end when the coordinator was not heard for
// Config.SessionTimeout, as it may have given the partitions to others.
//
// Markers, compacted offsets and aborted transactions are passed over; checksums
// are checked; a batch that cannot be read holds its partition and is fetched
// again, and Health says which. A position that the log does not have any more is
// set anew by Config.OffsetReset, and Health says what was lost.
//
// # Transactions
//
// A subscription that is Transactional consumes, processes and produces: what its
// members stage ([brokers.Stager]) for the messages of a partition, and the group's
// position behind them, are committed in one transaction each AckInterval, or at
// once when the partition is given back. Each group, topic and partition has a
// transactional id, "group/topic/partition", whose next owner aborts what the one
// before has left open, before it asks for the position: access control has to allow
// ids that begin with the group's name. A rebalance that gets in between has the
// transaction aborted and made again, under the new membership.
//
// A [Transactor] publishes messages and positions of a consumer group that count
// as a whole or not at all, and fences the one before it of the same id. Of
// "exactly once" can be spoken here only, and for what stays within the cluster.
//
// # What is stored how
//
// The table in the comment of package brokers says how each field of a message
// is carried. Any other client may publish to a topic: a record without the
// driver's headers is a message of key, value, headers and timestamp. Headers of
// the names troupe-* and content-type are never a user's.
//
// # Failures
//
// What passes by itself in a cluster (a leader that moves, a coordinator that
// loads, a node that restarts, a connection that is lost) the driver waits for,
// with jittered back-off, for as long as its caller does.
package kafka
