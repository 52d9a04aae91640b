// Package deadletters lists, replays and discards dead letters, on any broker.
//
// A [Desk] is opened on the topic of a policy's DeadLetter, as a member of a
// group of its own: what that group has not acknowledged is what still lies
// there. It reads the letters once, when it is opened; see the example.
//
// # Guarantee
//
// Nothing is lost: a letter is marked, that is acknowledged for the group, only
// after its replay is confirmed and stored. A replay has an id of its own
// (supervision.Replay), as a broker's deduplication would else confirm and drop
// it. What happens between the two may lead to a second replay, under the same
// id. On brokers that acknowledge prefixes only (Kafka) a letter behind one that
// stays cannot be marked; the report counts it, and it is listed again.
//
// What RabbitMQ itself has dead-lettered, for whatever program, is a letter too:
// it has the queue that the message left as its Group, and the broker's reason. A
// queue that is no topic's is read in [brokers.ModeCompeting]; see
// examples/topology.
//
// # Order
//
// Letters are replayed in the order in which they lie in their partition, those
// of a key one after the other.
package deadletters
