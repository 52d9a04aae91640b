package kafka_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// hanging is a way to a node that hangs for a while from the first request to join a
// group on: what was connected by then is never answered any more.
type hanging struct {
	once   sync.Once
	began  chan struct{} // closed when it hangs
	mended chan struct{} // closed when new connections are answered
}

func (h *hanging) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	select {
	case <-h.mended:
		return nc, nil
	default:
		return &hung{Conn: nc, of: h, closed: make(chan struct{})}, nil
	}
}

// hung is a connection that hangs when its node does.
type hung struct {
	net.Conn

	of     *hanging
	close  sync.Once
	closed chan struct{}

	mu    sync.Mutex
	until time.Time // of the deadline to read
}

func (c *hung) Write(b []byte) (int, error) {
	if isRequest(b, joinGroup) {
		c.of.once.Do(func() { close(c.of.began) })
	}
	return c.Conn.Write(b)
}

func (c *hung) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	c.until = at
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(at)
}

func (c *hung) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.of.began:
	default:
		return n, err
	}
	c.mu.Lock()
	patience := time.Until(c.until)
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0, context.DeadlineExceeded // as a connection says that
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *hung) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A coordinator that hangs while a member joins, which may take as long as the
// slowest member, is seen to hang: the member joins anew once it can be reached
// again, and does not wait for an answer that never comes.
func TestCoordinatorHangsAtJoining(t *testing.T) {
	t.Parallel()
	h := &hanging{began: make(chan struct{}), mended: make(chan struct{})}
	b := openQuick(t, func(c *kafka.Config) {
		c.RequestTimeout, c.DialTimeout, c.RebalanceTimeout, c.Dial = time.Second, time.Second, 2*time.Minute, h.dial
	})
	topic := newTopic(t, open(t, nil), 1)
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}})
	select {
	case <-h.began:
	case <-within(t).Done():
		t.Fatal("no member joins")
	}
	<-time.After(2 * time.Second) // for longer than a probe waits
	close(h.mended)
	accept(t, sub)
}
