package nats

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// AckMode is how messages are acknowledged to the server.
type AckMode uint8

const (
	// AcksEach: each message by itself. What is settled above a gap does not come
	// again after a crash, and the server counts deliveries.
	AcksEach AckMode = iota
	// AcksPrefix: all up to one, as on Kafka. It is about 1.5 times faster to
	// read. Everything above a gap comes again after a crash, and as long as
	// there is a gap the server keeps account of each message above it. To the
	// server a message that is dropped before its turn acknowledges all before it,
	// so such a group cannot read a stream in which messages have times to live of
	// their own ([ErrPrefixUnsafe]), and topics made in this mode take none.
	AcksPrefix
)

// Config is how to reach the servers, how topics are made, and how long the
// driver waits for what.
type Config struct {
	// Servers are URLs of one cluster, "nats://host:port". Defaults to
	// nats://127.0.0.1:4222.
	Servers []string
	// User and Password log in. Default to none.
	User     string
	Password brokers.Secret
	// Token, NKey and Credentials log in otherwise: by a token, by the seed of a
	// user's nkey, or by what a credentials file holds. Of these, CredentialsFile
	// and User one at most can be given. Default to none.
	Token       brokers.Secret
	NKey        brokers.Secret
	Credentials brokers.Secret
	// CredentialsFile is the path of a credentials file, which is read for each
	// connection, so that it may be exchanged. Defaults to none.
	CredentialsFile string
	// TLS encrypts the connections, with a client certificate if it has one;
	// TLSFirst begins with it, as servers with handshake_first want. Default to
	// what the server asks for.
	TLS      *tls.Config
	TLSFirst bool
	// Name is the connection's name on the server. Defaults to "troupe".
	Name string
	// Options are more options of the NATS client, applied last. The driver sets the handlers of connection events itself.
	Options []nats.Option
	// Logger gets one line when the connection is lost and one when it is back.
	// Defaults to none.
	Logger *zap.Logger

	// Replicas is how many servers keep a topic that EnsureTopic makes.
	// Defaults to 1.
	Replicas int
	// MaxAge and MaxBytes bound what such a topic keeps; the oldest messages go
	// first, read or not. Default to no bound.
	MaxAge   time.Duration
	MaxBytes int64
	// DedupWindow is how long such a topic remembers message ids. It should be
	// no shorter than publishers retry (PublisherConfig.DeliveryTimeout); the
	// server spends about 150 bytes per message in it. Defaults to 2 min.
	DedupWindow time.Duration

	// PinnedTTL is how long a partition stays with an owner that the server does
	// not hear, and thus how long a crash holds it up. It is written into a
	// group's consumers when they are made; later members read it there.
	// Defaults to 10 s.
	PinnedTTL time.Duration
	// Acks is how messages are acknowledged, which must be the same in all members
	// of a group, and for ever. Defaults to AcksEach.
	Acks AckMode
	// AckWait is when the server delivers again what an owner has had for so
	// long. The driver drops such repeats, which only count as deliveries, and
	// finds by itself what was lost on the way. Defaults to 24 h.
	AckWait time.Duration
	// Prefetch and PrefetchBytes bound what a partition holds ready in this
	// process beyond what was fetched. Default to 1,024 messages, or
	// MaxUnsettled if that is less, and 4 MiB.
	Prefetch      int
	PrefetchBytes int
	// MemberInterval is how often a member speaks to its group; one that was not
	// heard for three of them is not counted any more. Defaults to 2 s.
	MemberInterval time.Duration
	// FailoverAfter is how long a partition must be nobody's until a member that
	// it does not fall to helps out. Defaults to 10 s.
	FailoverAfter time.Duration

	// RequestTimeout bounds one request to the server. Defaults to 5 s.
	RequestTimeout time.Duration
	// PublishTimeout is how long the confirmation of one message is waited for
	// before it counts as unknown, and is sent again with its id. Defaults to
	// 5 s.
	PublishTimeout time.Duration
	// ReconnectWait bounds the jittered wait between attempts to reconnect,
	// which go on for ever. Defaults to 2 s.
	ReconnectWait time.Duration
}

// validate names the first field that makes no sense.
func (c Config) validate() error {
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"Replicas", int64(c.Replicas), 0},
		{"MaxAge", int64(c.MaxAge), 0},
		{"MaxBytes", c.MaxBytes, 0},
		{"DedupWindow", int64(c.DedupWindow), int64(100 * time.Millisecond)},
		{"PinnedTTL", int64(c.PinnedTTL), int64(100 * time.Millisecond)},
		{"AckWait", int64(c.AckWait), int64(time.Second)},
		{"Prefetch", int64(c.Prefetch), 0},
		{"PrefetchBytes", int64(c.PrefetchBytes), 0},
		{"MemberInterval", int64(c.MemberInterval), int64(10 * time.Millisecond)},
		{"FailoverAfter", int64(c.FailoverAfter), 0},
		{"RequestTimeout", int64(c.RequestTimeout), 0},
		{"PublishTimeout", int64(c.PublishTimeout), 0},
		{"ReconnectWait", int64(c.ReconnectWait), 0},
	} {
		if f.value < 0 || f.value > 0 && f.value < f.least {
			return fmt.Errorf("%w: nats.Config.%s is %d, less than %d", brokers.ErrInvalid, f.name, f.value, f.least)
		}
	}
	if c.Acks > AcksPrefix {
		return fmt.Errorf("%w: nats.Config.Acks is unknown: %d", brokers.ErrInvalid, c.Acks)
	}
	return c.checkLogin()
}

func (c Config) withDefaults() Config {
	if len(c.Servers) == 0 {
		c.Servers = []string{nats.DefaultURL}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	c.Name = cmp.Or(c.Name, "troupe")
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.DedupWindow = cmp.Or(c.DedupWindow, 2*time.Minute)
	if c.MaxAge > 0 {
		c.DedupWindow = min(c.DedupWindow, c.MaxAge) // the server refuses more
	}
	c.PinnedTTL = cmp.Or(c.PinnedTTL, 10*time.Second)
	c.AckWait = cmp.Or(c.AckWait, 24*time.Hour)
	c.Prefetch = cmp.Or(c.Prefetch, 1024)
	c.PrefetchBytes = cmp.Or(c.PrefetchBytes, 4<<20)
	c.MemberInterval = cmp.Or(c.MemberInterval, 2*time.Second)
	c.FailoverAfter = cmp.Or(c.FailoverAfter, 10*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 5*time.Second)
	c.PublishTimeout = cmp.Or(c.PublishTimeout, 5*time.Second)
	c.ReconnectWait = cmp.Or(c.ReconnectWait, 2*time.Second)
	return c
}
