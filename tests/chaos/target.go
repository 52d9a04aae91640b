package chaos

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Target tells the suite how to reach one broker, and how to break what only
// its driver knows. Members in processes of their own get it from the map that
// is given to [Member].
type Target struct {
	// Open opens a connection, by way of address: the server's own, or that of a
	// proxy in front of it. Required.
	Open func(ctx context.Context, address string) (brokers.Broker, error)
	// Address is where the server listens, host:port. Empty for a broker that
	// lives in this process, and for a cluster, whose nodes Open knows: then there
	// are no proxies and no member processes.
	Address string
	// Service is the server's name in tests/services, or that of all nodes of a
	// cluster. Defaults to none: it is not killed or paused.
	Service string
	// Leader names the node in tests/services that leads a topic of a cluster.
	// Defaults to none: there is one server.
	Leader func(ctx context.Context, topic string) (node string, err error)
	// Coordinator names the node in tests/services that coordinates a group, where
	// that is another matter than leading a topic. Defaults to none.
	Coordinator func(ctx context.Context, group string) (node string, err error)
	// Cut cuts a connection until mend is called. It stands for proxies where
	// there is no Address. Defaults to none.
	Cut func(b brokers.Broker) (mend func())
	// Forget has the server forget what it knows of a group on a topic: its
	// consumers, not the messages. The driver must bring it back to where it was.
	// Defaults to none.
	Forget func(ctx context.Context, topic, group string) error
	// Delete deletes what the server keeps of a group on a topic, with the messages in
	// it, and returns when the group has it again. It is asked for when all is handled.
	// Defaults to none.
	Delete func(ctx context.Context, topic, group string) error
	// Alarm has the server take no messages until mend is called, and do all else.
	// Defaults to none.
	Alarm func(ctx context.Context) (mend func() error, err error)
	// Blows are further ways to break something, by name. They end with mend,
	// which is nil if there is nothing to be mended. Default to none.
	Blows map[string]func(ctx context.Context, topic, group string) (mend func(), err error)

	// Transactional has members publish in transactions: what they published is
	// there once. Defaults to false.
	Transactional bool
	// Only are the scenarios to run, by name. Defaults to all.
	Only []string
	// Lease is how long an owner that cannot be reached keeps others out.
	// Defaults to 0.
	Lease time.Duration
	// Ripe is how old a topic must be for a server that is killed to have it still.
	// Defaults to 0.
	Ripe time.Duration
	// Redelivery is when the broker delivers again what is not acknowledged
	// for so long. Defaults to 0: it does not.
	Redelivery time.Duration
	// Notice is how long a driver may take to see that the server is silent on
	// a connection that looks well. Defaults to 5 s.
	Notice time.Duration
	// Resume bounds the time from the end of a blow until every partition makes
	// progress again. Defaults to 10 s.
	Resume time.Duration
	// Limits are what this broker may do that is not a fault.
	Limits Limits

	// Rate is how many messages are published a second. Defaults to 200.
	Rate int
	// Hold is how long a blow lasts that needs no particular time. Defaults to
	// 3 s.
	Hold time.Duration
}

func (target Target) withDefaults(t *testing.T) Target {
	t.Helper()
	if target.Open == nil {
		t.Fatal("chaos: Target.Open is nil")
	}
	target.Notice = cmp.Or(target.Notice, 5*time.Second)
	target.Resume = cmp.Or(target.Resume, 10*time.Second)
	target.Rate = cmp.Or(target.Rate, 200)
	target.Hold = cmp.Or(target.Hold, 3*time.Second)
	return target
}

// effort is the longest that a member takes for a message.
func (target Target) effort() time.Duration { return target.Hold / 50 }

// hands is how much work members have in their hands when a blow is struck.
func (target Target) hands() time.Duration { return target.Hold / 4 }
