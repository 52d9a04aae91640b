package rabbitmq

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// Config is how to reach the servers, and how long the driver waits for what.
type Config struct {
	// Addresses are host:port of the nodes of one cluster. They are tried in a
	// random order. Defaults to 127.0.0.1:5672.
	Addresses []string
	// User and Password log in. Default to guest, guest, which a server takes
	// from its own host only. With ExternalAuth the certificate logs in.
	User         string
	Password     brokers.Secret
	ExternalAuth bool
	// VirtualHost is the namespace on the server. Defaults to "/".
	VirtualHost string
	// TLS encrypts; nil does not. Where it has no ServerName, it is the host's.
	TLS *tls.Config
	// Name is what an operator sees of the connections, with their purpose behind
	// it. Defaults to "troupe", the program's name and the process id.
	Name string
	// PublishConnections is how many connections publish. Each Publisher has one of
	// them, that with the fewest, so that many Publishers share them out; a key's
	// order is one Publisher's, as ever. Defaults to 1.
	PublishConnections int
	// Dial opens network connections. Defaults to a net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets a line for each handler of requests that panics, and each reply
	// that cannot be sent. Defaults to none.
	Logger *zap.Logger

	// Heartbeat is how often at least each side is to show that it is alive. The
	// driver takes a connection for lost that was silent for one and a half of
	// them, and the server one that was for two: so an owner that is cut off knows
	// before another has its partitions. Whole seconds. Defaults to 10 s.
	Heartbeat time.Duration
	// DialTimeout bounds one attempt to connect, with TLS and login. Defaults to
	// 10 s.
	DialTimeout time.Duration
	// RequestTimeout bounds one request to the server. Defaults to 10 s.
	RequestTimeout time.Duration
	// MemberInterval is how often a member speaks to its group; one that was not
	// heard for three of them does not count. Defaults to 2 s.
	MemberInterval time.Duration
	// FailoverAfter is how long a partition must be nobody's until a member that
	// it does not fall to attaches to it. Defaults to 10 s.
	FailoverAfter time.Duration
	// AcknowledgementTimeout is the servers' consumer_timeout, which they do not
	// say: how long a message may be unacknowledged. Parking ends at half of it.
	// Defaults to 30 min, as theirs.
	AcknowledgementTimeout time.Duration
	// Queues are those that subscriptions in ModeCompeting read under a topic's
	// name, which goes before a topic of that name. Default to none.
	Queues map[string]Queue
	// DeadLetter is where the queues of groups, which the driver makes, put what is
	// rejected: see [brokers.SubscriptionConfig].Rejects. It is at least once,
	// whatever AtLeastOnce says: a message stays until its target has it. The
	// routing key that messages have there is the partition's number, unless
	// RoutingKey is another. A queue that was made with another one, or none, is
	// refused. Defaults to none.
	DeadLetter DeadLetter
	// PolicyDeadLetters are queues among Queues and LimitedQueues whose dead-letter
	// exchange a policy of the server sets, which AMQP does not show. Default to
	// none: rejecting from a queue that has no such argument is refused.
	PolicyDeadLetters []string
	// LimitedQueues are queues of groups that are read in order although they have
	// a delivery limit, and are taken as they are. They must be there. Default to
	// none: such a queue is refused.
	LimitedQueues []string
	// RetryMin and RetryMax bound the jittered wait between attempts to
	// reconnect, which go on for ever. Default to 100 ms and 30 s.
	RetryMin, RetryMax time.Duration
}

// validate names the first field that makes no sense.
func (c *Config) validate() error {
	for _, f := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"Heartbeat", c.Heartbeat, time.Second},
		{"DialTimeout", c.DialTimeout, time.Millisecond},
		{"RequestTimeout", c.RequestTimeout, time.Millisecond},
		{"MemberInterval", c.MemberInterval, 10 * time.Millisecond},
		{"FailoverAfter", c.FailoverAfter, time.Millisecond},
		{"AcknowledgementTimeout", c.AcknowledgementTimeout, time.Second},
		{"RetryMin", c.RetryMin, time.Millisecond},
		{"RetryMax", c.RetryMax, time.Millisecond},
	} {
		if f.value != 0 && f.value < f.least {
			return fmt.Errorf("%w: rabbitmq.Config.%s is %v, less than %v", brokers.ErrInvalid, f.name, f.value, f.least)
		}
	}
	if c.PublishConnections < 0 || c.PublishConnections > maxPublishConnections {
		return fmt.Errorf("%w: rabbitmq.Config.PublishConnections is %d; want 1 to %d", brokers.ErrInvalid, c.PublishConnections, maxPublishConnections)
	}
	for _, address := range c.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%w: rabbitmq.Config.Addresses: %w", brokers.ErrInvalid, err)
		}
	}
	for topic, q := range c.Queues {
		if err := q.validate(); err != nil {
			return fmt.Errorf("%w: rabbitmq.Config.Queues[%q]: %w", brokers.ErrInvalid, topic, err)
		}
	}
	if err := c.DeadLetter.validate("rabbitmq.Config."); err != nil {
		return err
	}
	if c.ExternalAuth && (c.TLS == nil || len(c.TLS.Certificates) == 0 && c.TLS.GetClientCertificate == nil) {
		return fmt.Errorf("%w: rabbitmq.Config.ExternalAuth needs a client certificate in TLS", brokers.ErrInvalid)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if len(c.Addresses) == 0 {
		c.Addresses = []string{"127.0.0.1:5672"}
	}
	if c.User == "" {
		c.User, c.Password = "guest", brokers.NewSecret("guest")
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("troupe %s %d", filepath.Base(os.Args[0]), os.Getpid())
	}
	c.PublishConnections = cmp.Or(c.PublishConnections, 1)
	c.VirtualHost = cmp.Or(c.VirtualHost, "/")
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 10*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.MemberInterval = cmp.Or(c.MemberInterval, 2*time.Second)
	c.FailoverAfter = cmp.Or(c.FailoverAfter, 10*time.Second)
	c.AcknowledgementTimeout = cmp.Or(c.AcknowledgementTimeout, 30*time.Minute)
	c.RetryMin = cmp.Or(c.RetryMin, 100*time.Millisecond)
	c.RetryMax = max(cmp.Or(c.RetryMax, 30*time.Second), c.RetryMin)
	return c
}
