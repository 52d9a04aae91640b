// Package brokers is messages, and the contract by which drivers carry them:
// one program runs on Kafka, RabbitMQ, NATS JetStream or in memory. It is of use
// by itself, and package actors builds on it.
//
// [Open] opens a [Broker] by its DSN, with the drivers it is given. A broker
// makes a [Publisher], and a [Subscription], which is a listener: it accepts
// [Partition]s as a net.Listener accepts connections. A partition is an ordered
// stream that this process owns for one epoch. Its owner fetches messages and
// acknowledges those that are settled; see the example.
//
// Beside that, a broker may carry requests and replies, at most once: [Requests].
// Package actors/requests has them typed.
//
// # Guarantee
//
// At least once. What Publish confirmed the broker has; what it did not confirm
// it accounts for, message by message, as not sent, unknown or refused. A
// message is delivered until it is acknowledged, and an acknowledgement of an
// epoch that has ended changes nothing.
//
// Where a broker has transactions (Kafka, memory), a [Stager] makes what the
// handling of messages led to count with their acknowledgement, once.
//
// # Order
//
// A key's messages go to one partition ([PartitionOf]), are stored in the order
// of their publishing ([OrderPerKey]) and delivered in that order, to one owner
// at a time. Another partition count, and a partitioner that pays no heed to
// keys, break that.
//
// # How drivers carry a message
//
// The names of headers that are the drivers' own begin with "troupe-"; a
// receiver finds what they hold in the field, not among its Headers. "bin" is
// the troupe-bin header ([EncodeBin]), which a driver adds where a broker would
// change or lose something, and which wins on receipt unless somebody changed
// the native headers on the way. "-" is not carried.
//
//	field          memory     NATS JetStream           RabbitMQ                 Kafka
//	ID             as is      Nats-Msg-Id              message-id               troupe-id
//	 if none       empty      stream/sequence          empty                    topic/partition/offset
//	Topic          as is      subject root             exchange                 topic
//	Key            as is      troupe-key; bin          troupe-key               key
//	 nil           as is      no troupe-key            no troupe-key            null
//	Payload        as is      data                     body                     value
//	 nil           as is      bin                      troupe-nil               null
//	Headers        as is      headers                  header table             headers
//	 order         as is      troupe-order; bin        sorted by key; bin       as is
//	 duplicates    as is      of a name as they come   bin                      as is
//	 odd names     as is      bin                      bin over 255 bytes       as is
//	 odd values    as is      bin: CR, LF, edges       as is                    as is
//	 nil value     as is      bin                      as is; bin if typed      as is
//	 Kind          as is      bin                      typed values; bin        bin
//	Time           as is      troupe-time              timestamp; troupe-time   timestamp, ms
//	 if zero       at store   server's time            driver's time            driver's time
//	CorrelationID  as is      troupe-correlation-id    correlation-id           troupe-correlation-id
//	ReplyTo        as is      troupe-reply-to          reply-to                 troupe-reply-to
//	ContentType    as is      Content-Type             content-type             content-type
//	TTL            honoured   Nats-TTL, s, up          expiration, ms, up       -
//	Priority       carried    troupe-priority          priority                 -
//	RoutingKey     carried    troupe-routing-key       routing key              -
//	 if empty      empty      empty                    partition; empty         -
//	Partition      log        last token of subject    queue topic.group.pN     partition
//	Offset         of log     stream sequence          delivery tag             offset
//	 of Receipt    of log     stream sequence          NoOffset                 offset
//	Epoch          counted    counted                  counted                  counted
//	DeliveryCount  optional   server's count           x-delivery-count + 1     0
//	Broker         nil        *nats.Delivery           *rabbitmq.Delivery       *kafka.Record
//
// An ID made of a position is not unique once a topic is deleted and made again.
// Limits that are one broker's: RabbitMQ takes names, ID, CorrelationID, ReplyTo,
// ContentType and RoutingKey of 255 bytes, header frames of 128 KiB and a TTL of
// 49 days; JetStream takes headers of 64 KiB; Kafka takes no nil Key on
// compacted topics and no Time more than an hour ahead. What is over them is
// Refused, alone: on Kafka by the cluster, elsewhere before it is sent.
package brokers
