package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/troupe-go/troupe/brokers"
)

// anyNode stands for whichever node can be reached.
const anyNode int32 = -1

// maxIdle is how many connections to one node are kept for later requests.
const maxIdle = 4

// errUnknownNode says that the cluster's metadata have no such node, for now.
var errUnknownNode = fmt.Errorf("%w: node unknown", errConnection)

// client knows the cluster, and has the connections to it. It is the transport
// of a [kafkago.Client] too: kafka-go's own knows the leaders of six seconds ago,
// and asks for the coordinator before each request.
type client struct {
	cfg       Config
	tls       *tls.Config
	mechanism sasl.Mechanism
	metadata  *metadata
	// Of groups and of transactions.
	coordinators coordinators

	ctx    context.Context // ends when the client is closed
	cancel context.CancelFunc

	mu   sync.Mutex
	idle map[int32][]*conn
	open map[*conn]struct{}
	mute map[string]time.Time // addresses that were silent, and when
}

var _ kafkago.RoundTripper = (*client)(nil)

func newClient(cfg Config) (*client, error) {
	mechanism, err := cfg.login()
	if err != nil {
		return nil, err
	}
	c := &client{
		cfg:       cfg,
		tls:       cfg.TLS,
		mechanism: mechanism,
		idle:      map[int32][]*conn{},
		open:      map[*conn]struct{}{},
		mute:      map[string]time.Time{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.metadata = newMetadata(c)
	return c, nil
}

// api returns kafka-go's client over this one's connections. It does not retry:
// see client.retry.
func (c *client) api() *kafkago.Client {
	return &kafkago.Client{Addr: kafkago.TCP(c.cfg.Seeds...), Transport: c}
}

// close ends all connections.
func (c *client) close() {
	c.cancel()
	c.mu.Lock()
	var open []*conn
	for x := range c.open {
		open = append(open, x)
	}
	c.idle = nil
	c.mu.Unlock()
	for _, x := range open {
		c.drop(x)
	}
}

// connect opens a connection to a node. Who asked for it gives it back with
// drop.
func (c *client) connect(ctx context.Context, node int32) (*conn, error) {
	return c.connectAs(ctx, node, c.cfg.ClientID)
}

// connectAs is connect under a name of its own, which the cluster shows.
func (c *client) connectAs(ctx context.Context, node int32, clientID string) (*conn, error) {
	addresses, err := c.metadata.addresses(node)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, address := range c.likelyFirst(addresses) {
		opened, err := c.dial(ctx, address, clientID)
		c.noteSilence(address, err)
		if err == nil {
			return opened, c.adopt(opened)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// muteFor is how long a node that was silent is asked after the others.
const muteFor = 10 * time.Second

// likelyFirst puts nodes that have just been silent behind the others: one that hangs
// costs its patience each time that it is asked.
func (c *client) likelyFirst(addresses []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := func(address string) int {
		if at, was := c.mute[address]; was && time.Since(at) < muteFor {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(addresses, func(a, b string) int { return silent(a) - silent(b) })
	return addresses
}

// noteSilence notes that a node did not answer, or that it did. What else is open to
// a silent one for whoever asks next is closed.
func (c *client) noteSilence(address string, err error) {
	c.mu.Lock()
	if err == nil {
		delete(c.mute, address)
		c.mu.Unlock()
		return
	}
	if !errors.Is(err, errNoAnswer) {
		c.mu.Unlock()
		return
	}
	c.mute[address] = time.Now()
	var dead []*conn
	for node, idle := range c.idle {
		c.idle[node] = slices.DeleteFunc(idle, func(x *conn) bool {
			if x.address == address {
				dead = append(dead, x)
			}
			return x.address == address
		})
	}
	c.mu.Unlock()
	for _, x := range dead {
		c.drop(x)
	}
}

// adopt has close know of a connection.
func (c *client) adopt(opened *conn) error {
	c.mu.Lock()
	if c.ctx.Err() == nil {
		c.open[opened] = struct{}{}
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	opened.close()
	return brokers.ErrClosed
}

// drop closes a connection.
func (c *client) drop(x *conn) {
	x.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, x)
}

// borrow returns a connection to a node that nobody else uses.
func (c *client) borrow(ctx context.Context, node int32) (*conn, error) {
	if c.ctx.Err() != nil {
		return nil, brokers.ErrClosed
	}
	for {
		c.mu.Lock()
		idle := c.idle[node]
		if len(idle) == 0 {
			c.mu.Unlock()
			return c.connect(ctx, node)
		}
		x := idle[len(idle)-1]
		c.idle[node] = idle[:len(idle)-1]
		c.mu.Unlock()
		if x.failed() == nil {
			return x, nil
		}
		c.drop(x)
	}
}

// giveBack keeps a connection for others, if it is of use.
func (c *client) giveBack(node int32, x *conn) {
	c.mu.Lock()
	if x.failed() == nil && c.ctx.Err() == nil && len(c.idle[node]) < maxIdle {
		c.idle[node] = append(c.idle[node], x)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	if err := x.failed(); err != nil {
		c.noteSilence(x.address, err)
	}
	c.drop(x)
}

// do sends a request to a node, on a connection of its own for that time.
func (c *client) do(ctx context.Context, node int32, msg protocol.Message, patience time.Duration) (protocol.Message, error) {
	x, err := c.borrow(ctx, node)
	if err != nil {
		return nil, err
	}
	defer c.giveBack(node, x)
	return x.roundTrip(ctx, msg, patience)
}

// RoundTrip implements [kafkago.RoundTripper]: it sends a request to the node
// that it is for, and waits until ctx ends for the answer. Leaders are those of
// topics that metadata knows.
func (c *client) RoundTrip(ctx context.Context, _ net.Addr, msg protocol.Message) (protocol.Message, error) {
	if splitter, ok := msg.(protocol.Splitter); ok {
		return c.split(ctx, splitter)
	}
	return c.deliver(ctx, msg)
}

// deliver sends a request to the node that it is for.
func (c *client) deliver(ctx context.Context, msg protocol.Message) (protocol.Message, error) {
	node, err := c.route(ctx, msg)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, node, msg, c.patience(ctx))
}

// patience is how long an answer is waited for: as long as the caller wants, as
// a group's answer may take its time.
func (c *client) patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline) + c.cfg.RequestTimeout
	}
	return c.cfg.RequestTimeout
}

// route finds the node that a request is for.
func (c *client) route(ctx context.Context, msg protocol.Message) (int32, error) {
	switch m := msg.(type) {
	case protocol.BrokerMessage:
		broker, err := m.Broker(c.metadata.layout())
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errConnection, err)
		}
		return broker.ID, nil
	case protocol.GroupMessage:
		return c.coordinator(ctx, groupCoordinator, m.Group())
	case protocol.TransactionalMessage:
		if id := m.Transaction(); id != "" {
			return c.coordinator(ctx, transactionCoordinator, id)
		}
	}
	return anyNode, nil
}

// split sends the parts of a request to the nodes that they are for.
func (c *client) split(ctx context.Context, msg protocol.Splitter) (protocol.Message, error) {
	parts, merger, err := msg.Split(c.metadata.layout())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnection, err)
	}
	answers := make([]any, len(parts))
	var asking sync.WaitGroup
	for i, part := range parts {
		asking.Go(func() {
			answer, err := c.deliver(ctx, part) // parts are splitters themselves
			if answers[i] = answer; err != nil {
				answers[i] = err
			}
		})
	}
	asking.Wait()
	return merger.Merge(parts, answers)
}

// shuffled returns a copy of list in an order by chance.
func shuffled(list []string) []string {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
