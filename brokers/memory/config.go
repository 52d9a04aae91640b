package memory

import (
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Config says what kind of broker to play.
type Config struct {
	// Partitions is how many a topic has that does not say it, by publishing or
	// by [Broker.EnsureTopic]. Defaults to 12.
	Partitions int
	// RefuseUnknownTopics: publishing to a topic that does not exist is
	// [brokers.ErrUnknownTopic]. Defaults to false: the topic is made.
	RefuseUnknownTopics bool
	// CumulativeOnly plays Kafka's family: only a prefix can be acknowledged,
	// competing consumers are unknown and nothing bounds what is unsettled.
	// Defaults to false, RabbitMQ's and JetStream's family.
	CumulativeOnly bool
	// Unsequenced plays a broker that does not sequence publishing: while it
	// cannot be reached a publish fails, and the Publisher sends again.
	// Defaults to false: the driver waits in sequence.
	Unsequenced bool
	// CountDeliveries sets Message.DeliveryCount. Defaults to false.
	CountDeliveries bool
	// DedupWindow is how long the ID of a message is remembered by its topic; a
	// second message of the ID is confirmed and not stored. Defaults to 0: IDs
	// are not looked at.
	DedupWindow time.Duration
	// MaxMessageBytes is the largest message that the broker takes, by
	// Message.Size. Defaults to 0: no limit but the publisher's.
	MaxMessageBytes int
	// MaxRetained is how many messages a partition keeps; older ones are
	// forgotten, acknowledged or not. Defaults to 0: all.
	MaxRetained int
	// DropSettled forgets messages which every group of their topic has
	// acknowledged. Defaults to false: [Server.Messages] still shows them.
	DropSettled bool
}

func (c Config) withDefaults() Config {
	if c.Partitions == 0 {
		c.Partitions = 12
	}
	return c
}

// validate names the first field that makes no sense.
func (c Config) validate() error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Partitions", int64(c.Partitions)},
		{"DedupWindow", int64(c.DedupWindow)},
		{"MaxMessageBytes", int64(c.MaxMessageBytes)},
		{"MaxRetained", int64(c.MaxRetained)},
	} {
		if f.value < 0 {
			return fmt.Errorf("%w: memory.Config.%s is negative", brokers.ErrInvalid, f.name)
		}
	}
	return nil
}
