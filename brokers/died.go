package brokers

import "time"

// DeadLettered is implemented by what is in Message.Broker where the broker itself
// dead-letters messages, as RabbitMQ does with those that are rejected, expire or
// are too many, whoever made the queue.
type DeadLettered interface {
	// Died says how the message died; false if it did not.
	Died() (Died, bool)
}

// Died is what a broker says of a message that it has dead-lettered.
type Died struct {
	// Queue that it left last, and why, in the broker's word: "rejected",
	// "expired", "maxlen" or "delivery_limit".
	Queue, Reason string
	// Topic and RoutingKey are where it was published first.
	Topic, RoutingKey string
	// Count is how often it left that queue for that reason.
	Count int
	// First is when it died for the first time; Last is when it first left Queue
	// for Reason, as the broker keeps no later time.
	First, Last time.Time
}
