// Package rabbitmq is the driver for RabbitMQ, from 3.10 on. It makes topics and
// publishes; it does not subscribe yet.
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
// # Publishing
//
// Every message is persistent and mandatory, and confirmed by the server. One
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
// # Connections
//
// One connection publishes and one does all else. They are found by the names
// "troupe PROGRAM PID publish" and "... consume" at the server. Each is made
// again, for ever, when it is lost.
package rabbitmq
