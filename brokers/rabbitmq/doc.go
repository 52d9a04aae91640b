// Package rabbitmq is the driver for RabbitMQ, from 3.10 on.
//
// # Topics
//
// A topic is a durable direct exchange. Each group has a quorum queue with a
// single active consumer per partition, "topic.group.pN", bound with the number
// as its routing key; the queue "topic.partitions", which is always empty, has
// the count of them as its length limit. What is published before a group has its
// queues the group does not get. An exchange that was made by others can be
// published to as well, with Message.RoutingKey: it passes for a topic of one
// partition.
//
// # Reading in order
//
// The members of a group tell each other over the fanout exchange
// "troupe.members.group" what they have, and share the partitions out. Each
// partition's consumer has a channel of its own; that it is the queue's single
// active one the server shows with the first delivery, which begins an epoch. An
// epoch ends with its channel, and no acknowledgement outlives it. What is settled
// is acknowledged as a prefix, and above a gap singly. The server closes the
// channel of an owner that is given up, and returns what was not acknowledged in
// order, but counts that as a delivery.
//
// A group begins where its queues were made, by EnsureTopic or by its first
// member; Start changes nothing, and StartAtTime is [brokers.ErrUnsupported]. A
// queue with a delivery limit is refused, as hand-overs would use it up and the
// server drop what was never handled; but limits that a policy sets are not seen.
// MaxUnsettled is the prefetch, of 65,535 at most, and bounds messages, not bytes.
// Where the server's consumer_timeout is not its default, Config must say so.
//
// # Competing
//
// The members of a competing group read one queue, "topic.group.all", which
// EnsureTopic makes for TopicConfig.Competing, or any queue that Config.Queues
// names, made by whomever. A partition's offsets are then delivery tags of the
// member's own channel. What fails is tried again in the process, as a policy
// says, or over a [Ladder] of queues.
//
// # Dead letters
//
// A policy's dead letters are published and confirmed, as on any broker, or with
// Policy.Reject left to the queue's own dead-letter exchange. For queues of groups
// that is Config.DeadLetter, at least once; other queues must have one, or what is
// rejected would be dropped, and such subscriptions are refused. What the server says
// in x-death is in [Delivery], and package deadletters reads letters of either kind.
//
// # Publishing
//
// The headers "content-encoding" and "type" are AMQP's properties of that name as
// well. Every message is persistent and mandatory, and confirmed by the server. One
// that no queue is bound for is [brokers.ErrUnroutable]. A key is in order
// because the Publisher has one message of it unconfirmed at a time. While the
// server has a memory or disk alarm publishing waits, and [ErrBlocked] is in
// Health and in the errors of what is given up meanwhile.
//
// # Topology
//
// What is no topic of partitions is described by a [Topology] and made or checked
// by [Broker.ApplyTopology]; [Broker.PlanTopology] is a dry run:
//
//	orders := rabbitmq.Topology{
//		Exchanges: []rabbitmq.ExchangeConfig{{Name: "orders", Kind: rabbitmq.ExchangeTopic}},
//		Queues:    []rabbitmq.QueueConfig{{Name: "eu", MaxLength: 1_000_000}},
//		Bindings:  []rabbitmq.BindingConfig{{Exchange: "orders", Queue: "eu", Key: "eu.#"}},
//	}
//	change, err := broker.ApplyTopology(ctx, orders, rabbitmq.TopologyDeclare)
//
// # Requests
//
// [Broker.Request] publishes to the direct exchange "troupe.requests" by the
// topic, mandatory, and waits on the server's direct reply-to. Each group of
// responders has a queue there, which goes with its last member; neither requests
// nor replies are stored or acknowledged. Other clients can ask and answer there
// with the properties reply-to and correlation-id. After a restart of the server
// the queue of responders that do not come back is there for a minute more, and
// requests to them time out.
//
// # Connections
//
// One connection publishes, or a pool of Config.PublishConnections that Publishers
// share, and one does all else. They are found by the names "troupe PROGRAM PID
// publish", "... publish 2" and "... consume" at the server. Each is made
// again, for ever, when it is lost. As nothing is published on the second, a
// server that has an alarm goes on to read acknowledgements from it.
package rabbitmq
