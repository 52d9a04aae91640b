package brokers

import (
	"context"
	"time"
)

// Order is what a publisher keeps in order.
type Order uint8

const (
	// OrderPerKey: messages of one key are stored in the order of their
	// publishing, across retries. Where the broker does not sequence
	// (Features.SequencedPublish), one message per key is unconfirmed at a time,
	// and many keys are in flight.
	OrderPerKey Order = iota
	// OrderNone: the whole window is in flight; a retried message may be stored
	// behind its successors.
	OrderNone
)

// PublisherConfig is a publisher's window and promises.
type PublisherConfig struct {
	// Order defaults to OrderPerKey.
	Order Order
	// Partitioner chooses the partition. Defaults to ByKey.
	Partitioner Partitioner
	// MaxInFlight is how many messages may be unconfirmed at the broker.
	// Defaults to 4,096.
	MaxInFlight int
	// MaxBuffered and MaxBufferedBytes bound what is accepted and not yet
	// confirmed, in flight included; over it Publish and PublishAsync wait.
	// Default to 65,536 messages and 64 MiB.
	MaxBuffered      int
	MaxBufferedBytes int
	// MaxMessageBytes refuses larger messages locally, by Message.Size.
	// Defaults to 1 MiB.
	MaxMessageBytes int
	// DeliveryTimeout ends the retries of a message published asynchronously,
	// counted from its publishing. Negative is never. Defaults to 2 min, as
	// Kafka's delivery.timeout.ms.
	DeliveryTimeout time.Duration
	// RetryMin and RetryMax bound the jittered back-off between retries.
	// Default to 50 ms and 5 s.
	RetryMin, RetryMax time.Duration
}

// Receipt is the broker's confirmation of one message.
type Receipt struct {
	Topic     string
	Partition int32
	// Offset is where it lies; NoOffset where the broker does not say.
	Offset int64
	// Duplicate: the broker had a message of this ID already, and kept that.
	Duplicate bool
}

// Publisher publishes through a [Sender].
type Publisher struct{ sender Sender }

// NewPublisher makes a publisher over sender, for drivers.
func NewPublisher(sender Sender, features Features, cfg PublisherConfig) (*Publisher, error) {
	return &Publisher{sender: sender}, nil
}

// Publish publishes msgs and waits until the broker confirmed all of them.
func (p *Publisher) Publish(ctx context.Context, msgs ...Message) ([]Receipt, error) {
	return nil, ErrUnsupported
}

// PublishAsync publishes m and returns when it is accepted.
func (p *Publisher) PublishAsync(ctx context.Context, m Message, done func(Receipt, error)) error {
	return ErrUnsupported
}

// Flush waits until all that was accepted before is confirmed or failed.
func (p *Publisher) Flush(ctx context.Context) error { return ErrUnsupported }

// Close stops intake and flushes within ctx.
func (p *Publisher) Close(ctx context.Context) error { return p.sender.Close() }

// Outbound is one message on its way through a Sender.
type Outbound struct {
	// Message is what to send. The sender may read it until Done.
	Message *Message
	// Partition is where to.
	Partition int32
	// Attempt is 1 for the first sending.
	Attempt int
}

// Done reports the message confirmed (err nil) or not (a *SendError; any other
// error counts as Unknown). It never blocks.
func (o *Outbound) Done(r Receipt, err error) {}

// Context ends when nobody waits for the message any more, or its time is over.
func (o *Outbound) Context() context.Context { return context.Background() }
