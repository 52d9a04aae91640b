// Package nats is the driver for NATS JetStream, from nats-server 2.14 on.
// Package nats/embedded runs the server in this process.
//
// # Delivery
//
// JetStream: at least once, in order per partition. A topic is a stream with one subject
// per partition; a group has one durable consumer per partition, with explicit
// acknowledgements. Of the members that are attached to a partition the server
// pins one, which owns it; that one is told from all others by its pin, and
// loses it when it was silent for Config.PinnedTTL.
//
// A new owner first collects what the last one left unacknowledged, sorts it,
// and only then goes on with new messages. What was acknowledged above a gap is
// not delivered again (but see [AcksPrefix]). An owner whose connection was lost
// goes on with its epoch if nothing was lost on the way; else the epoch ends with
// [brokers.ErrRevoked].
//
// The server pins with a message only. So that an idle partition has an owner
// too, a member that stands by at one publishes a message without a payload, with
// the header troupe-wake, to it: members drop it, other readers of the stream
// should, and the server does after a second. Where that is not allowed, as in
// topics made with [AcksPrefix], an idle partition has no owner before its next
// message. Pins cost a tenth to a quarter
// of the server's speed of delivery, as it adds a header to each message.
//
// The server excludes, it does not share out. So the members of a group tell
// each other on the subject troupe.members.<group> what they own, and attach to
// an even share each.
//
// # Clusters
//
// With Config.Replicas of 3 a topic and its groups outlive one of three servers.
// When the leader of a stream or a consumer is lost the others elect one, which
// takes 4 to 9 s; meanwhile its partitions stand still, publishing waits, and
// epochs end if PinnedTTL is shorter. What the servers have not agreed upon is
// sent again with its id, as its outcome is unknown until then.
//
// # Publishing
//
// Every message has a Nats-Msg-Id, its own or a generated one, so that one that
// is sent again after a lost confirmation is stored once, within the stream's
// duplicate window (Config.DedupWindow). A key is in order because the Publisher
// has one message of it unconfirmed at a time.
//
// # Core NATS
//
// [Core] publishes and listens without JetStream, at most once. Requests and
// their replies ([brokers.Requests]) go that way too, on subjects below
// troupe.requests.
//
// # Streams of others
//
// [Broker.MapStream] makes a stream that other programs made and publish to a
// topic of one partition: subscriptions read it with all that holds for topics,
// and actors of keys handle it, by a token of its subjects for one.
// [Broker.ReadStream] gives it to a function, without a group.
//
// # What is stored how
//
// The table in the comment of package brokers says how each field of a message
// is carried. Any other client may publish to a topic: a message without a
// troupe-key has no key, and belongs on the subject of a partition. Headers of
// the names Nats-*, troupe-* and Content-Type are never a user's, as those of
// the server steer it: Nats-Rollup would purge a subject.
package nats
