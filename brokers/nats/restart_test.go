package nats_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

// restarted is a server that can be shut down and started again on its store.
type restarted struct {
	tb  testing.TB
	dir string
	mu  sync.Mutex
	s   *embedded.Server
}

func (r *restarted) start() {
	r.tb.Helper()
	s, err := embedded.Start(embedded.Config{Dir: r.dir})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = s
}

func (r *restarted) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s != nil {
		if err := r.s.Close(); err != nil {
			r.tb.Error(err)
		}
	}
	r.s = nil
}

func (r *restarted) dial() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s == nil {
		return nil, errCut
	}
	return r.s.InProcessConn()
}

// logged are lines to a server that can be restarted, with what the driver logs.
func logged(t *testing.T, change func(*nats.Config)) (*restarted, *lines, *observer.ObservedLogs) {
	t.Helper()
	server := &restarted{tb: t, dir: t.TempDir()}
	server.start()
	t.Cleanup(server.stop)
	ls := embeddedLines(nil)
	ls.dial = server.dial
	core, logs := observer.New(zap.InfoLevel)
	ls.change = func(cfg *nats.Config) {
		cfg.Logger = zap.New(core)
		if change != nil {
			change(cfg)
		}
	}
	return server, ls, logs
}

// A server that is down for a while and comes back with its store: publishing
// and reading go on where they were, and say so once each.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			serverRestarts(t, change)
		})
	}
}

func serverRestarts(t *testing.T, change func(*nats.Config)) {
	server, ls, logs := logged(t, change)
	b := open(t, ls)
	topic := makeTopic(t, b, 3)
	r := read(t, subscribe(t, b, name("group"), topic))
	p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit(), RetryMax: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"key0", "key1", "key2"}
	var failed sync.Map
	send := func(from, to int) {
		for n := from; n < to; n++ {
			for i, key := range keys {
				err := p.PublishAsync(within(t), numbered(topic, int32(i), key, n, n+1)[0], func(_ brokers.Receipt, err error) {
					if err != nil {
						failed.Store(err.Error(), true)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send(0, 100)
	r.await(t, 20, keys...)
	send(100, 200)
	server.stop()
	send(200, 300)
	eventually(t, "Health says disconnected", func() bool { h := b.Health(t.Context()); return !h.Connected && h.Err != nil })
	<-time.After(lease + lease/2) // all epochs are over
	if h := b.Health(t.Context()).Subscriptions[0]; h.State != brokers.StateConnecting {
		t.Errorf("state while the server is down: %v; want connecting", h.State)
	}
	server.start()
	began := time.Now()
	r.await(t, 299, keys...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("reading went on %v after the server's return", took)
	}
	if err := p.Close(within(t)); err != nil {
		t.Error(err)
	}
	failed.Range(func(err, _ any) bool { t.Errorf("a message was not confirmed: %v", err); return true })
	eventually(t, "Health is good", func() bool {
		h := b.Health(t.Context())
		return h.Connected && h.Err == nil && len(h.Subscriptions[0].Partitions) == 3
	})
	for text, want := range map[string]int{"nats: connection lost": 1, "nats: connection restored": 1} {
		if got := logs.FilterMessage(text).Len(); got != want {
			t.Errorf("%q was logged %d times; want %d: %v", text, got, want, logs.All())
		}
	}
}

// A topic that was never asked for can be published to while the server is away,
// by who waits long enough.
func TestPublishToANewTopicWaitsForTheServer(t *testing.T) {
	t.Parallel()
	server, ls, _ := logged(t, nil)
	topic := makeTopic(t, open(t, ls), 1)
	b := open(t, ls) // knows no topic
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	server.stop()
	eventually(t, "Health says disconnected", func() bool { return !b.Health(t.Context()).Connected })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Publish(short, numbered(topic, 0, "k", 0, 1)...); err == nil {
		t.Error("published without a server")
	}
	published := make(chan error, 1)
	go func() {
		_, err := p.Publish(within(t), numbered(topic, 0, "k", 0, 1)...)
		published <- err
	}()
	server.start()
	if err := <-published; err != nil {
		t.Errorf("Publish over the server's return: %v", err)
	}
	if err := p.Close(within(t)); err != nil {
		t.Error(err)
	}
}
