// Package memory is a broker inside the process: for tests, for examples, and
// for one process that needs no other.
//
// It keeps the contracts of package brokers as real brokers do: at least once,
// in order per partition, one owner per partition and epoch, cooperative
// rebalancing, fenced acknowledgements. [Config] chooses which family it plays:
// Kafka's, which acknowledges prefixes, or RabbitMQ's and JetStream's, which
// acknowledge singly. Nothing outlives the process.
//
// [New] makes a [Server] and a first connection to it, a [Broker];
// [Server.Connect] opens more, each of which is what another process would be.
// The Server is also where a test looks ([Server.Messages], [Server.Progress],
// [Server.Members], [Server.Await]) and breaks things ([Server.FailPublishes],
// [Server.HoldAcks], [Server.Kill], [Broker.Disconnect] and more).
//
// # Fields of a message
//
// All fields of a [brokers.Message] survive as they were published. Message.ID
// stays empty where the sender set none, Message.Broker is nil, TTL is honoured
// from the time of storing, Priority is carried and not honoured, and RoutingKey
// is carried and not used. A competing group numbers what each member is given
// from 0, and its messages say partition 0.
//
// # Memory
//
// A topic keeps every message, so that a test can look at it afterwards, unless
// Config.MaxRetained or Config.DropSettled says otherwise: a program that runs
// for long sets one of them. Messages lie in the log as bytes, apart from what
// publishers sent and what Fetch returned.
//
// # Goroutines
//
// There are none but those of [brokers.Publisher]; time-outs and delays are
// timers. So it works in a testing/synctest bubble, where time is virtual.
package memory
