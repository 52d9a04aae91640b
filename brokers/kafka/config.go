package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// Mechanism is how to log in.
type Mechanism uint8

// The mechanisms of SASL.
const (
	// ScramSHA512 and ScramSHA256 prove the password without sending it.
	ScramSHA512 Mechanism = iota
	ScramSHA256
	// Plain sends the password: over TLS only.
	Plain
)

// Acks is what a broker must have done with a message before it confirms it.
type Acks uint8

const (
	// AcksAll: all replicas that are in sync have it. Publishing is idempotent:
	// what is sent again is stored once.
	AcksAll Acks = iota
	// AcksLeader: the leader has it, and may lose it when it fails. What is sent
	// again after a lost confirmation may be stored twice.
	AcksLeader
	// AcksNone: it was sent. Nothing is confirmed and receipts have no offset;
	// what the broker refuses, or a lost connection swallows, is lost.
	AcksNone
)

// Compression is how batches of messages are compressed.
type Compression uint8

// The compressions, as Kafka numbers them.
const (
	CompressNone Compression = iota
	CompressGzip
	CompressSnappy
	CompressLZ4
	CompressZstd
)

// Config is how to reach a cluster, how topics are made, and how messages are
// sent and read.
type Config struct {
	// Seeds are nodes of the cluster, as host:port, to learn the others from.
	// Defaults to 127.0.0.1:9092.
	Seeds []string
	// User and Password log in by SASL, with Mechanism. Default to no login, and
	// ScramSHA512.
	User      string
	Password  brokers.Secret
	Mechanism Mechanism
	// TLS encrypts the connections, with a client certificate if it has one.
	// ServerName is set from each node's address. Defaults to no encryption.
	TLS *tls.Config
	// ClientID names this program in the logs and quotas of the cluster.
	// Defaults to "troupe".
	ClientID string
	// Dial opens network connections. Defaults to that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets one line when the cluster cannot be reached and one when it can
	// again. Defaults to none.
	Logger *zap.Logger

	// Replicas is how many nodes keep a topic that EnsureTopic makes. Defaults to
	// what the cluster is configured to.
	Replicas int
	// TopicConfigs are settings of such a topic by Kafka's names, such as
	// "retention.ms" or "cleanup.policy". Default to those of the cluster.
	TopicConfigs map[string]string

	// Acks is what confirms a message. Defaults to AcksAll.
	Acks Acks
	// Compression of batches; one that gets no smaller by it is sent as it is.
	// Defaults to CompressNone.
	Compression Compression
	// BatchMessages and BatchBytes bound a batch, which is what is sent of one
	// partition at a time; bytes count before compression. One message may be
	// larger. Default to 10,000 and 1,000,000, which clusters take by default.
	BatchMessages int
	BatchBytes    int
	// Linger is how long a batch that is not full waits for more messages. Without
	// it messages are gathered while the partition's last batch is not confirmed.
	// Flush and Close do not wait for it. Defaults to 0.
	Linger time.Duration

	// Assignor is how partitions are shared out in groups: all members of a group
	// name the same. Defaults to AssignCooperativeSticky.
	Assignor Assignor
	// InstanceID makes this process a static member of its groups: when it goes and
	// comes back within SessionTimeout nobody has had its partitions meanwhile, and
	// it has the same. No other process may have the same, nor may two subscriptions
	// of one group. Defaults to none.
	InstanceID string
	// SessionTimeout is when the cluster gives the partitions of a member to others
	// that it has not heard of. Clusters take 6 s to 30 min by default. Defaults to
	// 45 s, as in Kafka's own consumers.
	SessionTimeout time.Duration
	// HeartbeatInterval is how often it hears of a member. Defaults to 3 s, or a
	// third of SessionTimeout if that is less.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long a rebalance waits for members that do not join
	// anew. Defaults to 60 s.
	RebalanceTimeout time.Duration
	// OffsetReset is what becomes of a group whose position is not in the log any
	// more. Defaults to ResetEarliest.
	OffsetReset OffsetReset
	// ReadUncommitted reads messages of open and aborted transactions as well.
	ReadUncommitted bool
	// FetchBytes is how much of a partition is fetched at a time, at most, but for
	// a batch that is larger; about twice that may lie here. Defaults to 1 MiB.
	FetchBytes int
	// BufferBytes is how much may lie here of a subscription before a partition is
	// fetched only when nothing of it lies here. Defaults to 64 MiB.
	BufferBytes int
	// FetchWait is how long the cluster waits for a first message. Defaults to
	// 500 ms.
	FetchWait time.Duration
	// MaxInflatedBytes bounds a batch that was compressed; one that is larger is
	// not read, which holds its partition and shows in Health. Defaults to 64 MiB.
	MaxInflatedBytes int

	// DialTimeout bounds connecting and logging in to one node. Defaults to 5 s.
	DialTimeout time.Duration
	// RequestTimeout is when a node that does not answer counts as lost. Defaults
	// to 10 s.
	RequestTimeout time.Duration
	// RetryMin and RetryMax bound the jittered back-off, which doubles, between
	// attempts at what may pass. Default to 20 ms and 1 s.
	RetryMin, RetryMax time.Duration
	// MetadataInterval is how often is looked for new partitions and leaders, and
	// whether the cluster still answers. Defaults to 10 s.
	MetadataInterval time.Duration
}

// validate names the first field that makes no sense.
func (c Config) validate() error {
	for _, f := range []struct {
		name        string
		value, most int64
	}{
		{"Mechanism", int64(c.Mechanism), int64(Plain)},
		{"Replicas", int64(c.Replicas), math.MaxInt16},
		{"Acks", int64(c.Acks), int64(AcksNone)},
		{"Compression", int64(c.Compression), int64(CompressZstd)},
		{"BatchMessages", int64(c.BatchMessages), maxBatchMessages},
		{"BatchBytes", int64(c.BatchBytes), maxBatchBytes},
		{"Linger", int64(c.Linger), int64(time.Hour)},
		{"Assignor", int64(c.Assignor), int64(AssignRange)},
		{"SessionTimeout", int64(c.SessionTimeout), maxMillis},
		{"HeartbeatInterval", int64(c.HeartbeatInterval), maxMillis},
		{"RebalanceTimeout", int64(c.RebalanceTimeout), maxMillis},
		{"OffsetReset", int64(c.OffsetReset), int64(ResetFail)},
		{"FetchBytes", int64(c.FetchBytes), maxAnswer / 4},
		{"BufferBytes", int64(c.BufferBytes), math.MaxInt64},
		{"FetchWait", int64(c.FetchWait), int64(time.Minute)},
		{"MaxInflatedBytes", int64(c.MaxInflatedBytes), math.MaxInt32},
		{"DialTimeout", int64(c.DialTimeout), math.MaxInt64},
		{"RequestTimeout", int64(c.RequestTimeout), int64(time.Hour)},
		{"RetryMin", int64(c.RetryMin), math.MaxInt64},
		{"RetryMax", int64(c.RetryMax), math.MaxInt64},
		{"MetadataInterval", int64(c.MetadataInterval), math.MaxInt64},
	} {
		if f.value < 0 || f.value > f.most {
			return fmt.Errorf("%w: kafka.Config.%s is %d; want 0 to %d", brokers.ErrInvalid, f.name, f.value, f.most)
		}
	}
	if c.RetryMax > 0 && c.RetryMin > c.RetryMax {
		return fmt.Errorf("%w: kafka.Config.RetryMin is %v, more than RetryMax, %v", brokers.ErrInvalid, c.RetryMin, c.RetryMax)
	}
	if c.SessionTimeout > 0 && c.HeartbeatInterval >= c.SessionTimeout {
		return fmt.Errorf("%w: kafka.Config.HeartbeatInterval is %v, and SessionTimeout %v", brokers.ErrInvalid, c.HeartbeatInterval, c.SessionTimeout)
	}
	return nil
}

const (
	// maxMillis is how much of milliseconds the protocol holds.
	maxMillis        = math.MaxInt32 * int64(time.Millisecond)
	maxBatchMessages = 1 << 20
	maxBatchBytes    = 64 << 20
)

func (c Config) withDefaults() Config {
	if len(c.Seeds) == 0 {
		c.Seeds = []string{"127.0.0.1:9092"}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	c.ClientID = cmp.Or(c.ClientID, "troupe")
	c.Replicas = cmp.Or(c.Replicas, -1)
	c.BatchMessages = cmp.Or(c.BatchMessages, 10_000)
	c.BatchBytes = cmp.Or(c.BatchBytes, 1_000_000)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, max(45*time.Second, 3*c.HeartbeatInterval))
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, min(3*time.Second, c.SessionTimeout/3))
	c.RebalanceTimeout = cmp.Or(c.RebalanceTimeout, time.Minute)
	c.FetchBytes = cmp.Or(c.FetchBytes, 1<<20)
	c.BufferBytes = cmp.Or(c.BufferBytes, 64<<20)
	c.FetchWait = cmp.Or(c.FetchWait, 500*time.Millisecond)
	c.MaxInflatedBytes = cmp.Or(c.MaxInflatedBytes, 64<<20)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, max(time.Second, c.RetryMin))
	c.RetryMin = cmp.Or(c.RetryMin, min(20*time.Millisecond, c.RetryMax))
	c.MetadataInterval = cmp.Or(c.MetadataInterval, 10*time.Second)
	return c
}
