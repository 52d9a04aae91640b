package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// gate lets so many connections be made at first, and more once it is open.
type gate struct {
	first int
	open  chan struct{}

	mu    sync.Mutex
	conns []net.Conn
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	wait := len(g.conns) >= g.first
	g.mu.Unlock()
	if wait {
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		g.mu.Lock()
		g.conns = append(g.conns, nc)
		g.mu.Unlock()
	}
	return nc, err
}

// Publishers share three connections out. While one is lost those on the others go on,
// and what waits for it is confirmed when it is back.
func TestPublishConnections(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const control, links = 1, 3
		g := &gate{first: control + links, open: make(chan struct{})}
		cfg := quick(config(t, url))
		cfg.Dial, cfg.PublishConnections = g.dial, links
		b := open(t, cfg)
		release := sync.OnceFunc(func() { close(g.open) })
		t.Cleanup(release) // before the broker is closed
		topic := newGroup(t, config(t, url))
		topic.ensure()
		m := brokers.Message{Topic: topic.topic, Key: []byte("k"), Payload: []byte("x")}
		var publishers []*brokers.Publisher
		for range 2 * links {
			p := publisher(t, b, brokers.PublisherConfig{})
			if _, err := p.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			publishers = append(publishers, p)
		}

		g.mu.Lock()
		_ = g.conns[control+1].Close() // the second of them
		g.mu.Unlock()
		awaitHealth(t, b, func(h brokers.Health) bool {
			return !h.Connected && strings.Contains(h.Err.Error(), "connection to publish 2:")
		})
		results := make(chan error, len(publishers))
		for _, p := range publishers {
			if err := p.PublishAsync(t.Context(), m, func(_ brokers.Receipt, err error) { results <- err }); err != nil {
				t.Fatal(err)
			}
		}
		confirm := func(n int) {
			for range n {
				select {
				case err := <-results:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(time.Minute):
					t.Fatal("a message is not confirmed")
				}
			}
		}
		confirm(2 * (links - 1))
		release()
		confirm(2)
		awaitHealth(t, b, func(h brokers.Health) bool { return h.Connected && h.Err == nil })
	})
}

func TestPublishConnectionsInvalid(t *testing.T) {
	for _, n := range []int{-1, 5000} {
		_, err := rabbitmq.Open(t.Context(), rabbitmq.Config{PublishConnections: n})
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), "PublishConnections") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
