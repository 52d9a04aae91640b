package nats_test

import (
	"context"
	"errors"
	"net"
	"sync"

	client "github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

var errCut = errors.New("the line is cut")

// lines are the connections to one server, each of which can be cut.
type lines struct {
	dial    func() (net.Conn, error)
	options func(*line) []client.Option
	change  func(*nats.Config) // may be nil

	mu sync.Mutex
	of map[brokers.Broker]*line
}

// embeddedLines are lines to a server in this process.
func embeddedLines(server *embedded.Server) *lines {
	return &lines{
		dial:    func() (net.Conn, error) { return server.InProcessConn() },
		options: func(l *line) []client.Option { return []client.Option{client.InProcessServer(l)} },
	}
}

// serverLines are lines to a server at a TCP address.
func serverLines(address string) *lines {
	return &lines{
		dial:    func() (net.Conn, error) { return net.Dial("tcp", address) },
		options: func(l *line) []client.Option { return []client.Option{client.SetCustomDialer(l)} },
	}
}

func (ls *lines) harness() brokertest.Harness {
	return brokertest.Harness{
		Open: ls.openRoomy,
		// Above what both servers take, 1 MiB and some.
		RefusedBytes: 2 << 20,
		Lease:        lease,
		Kill:         func(b brokers.Broker) error { ls.line(b).cut(); return nil },
		Disconnect: func(b brokers.Broker) (func() error, error) {
			l := ls.line(b)
			l.cut()
			return func() error { l.mend(); return nil }, nil
		},
		Breaks: map[string]func(topic, group string) error{
			"ConsumerDeleted":  func(topic, group string) error { return ls.manage(deleteConsumer, topic, group) },
			"ConsumerUnpinned": func(topic, group string) error { return ls.manage(unpinConsumer, topic, group) },
		},
	}
}

// roomy lets the suite fetch without acknowledging as much as it likes: in
// Fetch/PauseOne that is all that can be published while a lease lasts.
type roomy struct{ *nats.Broker }

func (r roomy) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	if cfg.MaxUnsettled == 0 {
		cfg.MaxUnsettled = 1 << 16
	}
	return r.Broker.Subscribe(ctx, cfg)
}

func (ls *lines) openRoomy(ctx context.Context) (brokers.Broker, error) {
	b, err := ls.open(ctx)
	if err != nil {
		return nil, err
	}
	return roomy{b.(*nats.Broker)}, nil
}

func (ls *lines) open(ctx context.Context) (brokers.Broker, error) {
	l := &line{dial: ls.dial}
	cfg := config(ls.options(l)...)
	if ls.change != nil {
		ls.change(&cfg)
	}
	b, err := nats.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.of == nil {
		ls.of = map[brokers.Broker]*line{}
	}
	ls.of[b] = l
	return b, nil
}

func (ls *lines) line(b brokers.Broker) *line {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if r, ok := b.(roomy); ok {
		b = r.Broker
	}
	return ls.of[b]
}

// line is one client's way to the server.
type line struct {
	dial  func() (net.Conn, error)
	mu    sync.Mutex
	down  bool
	conns []net.Conn
	reads sync.RWMutex // held while nothing comes through
	sends sync.RWMutex // held while nothing goes through
}

// gated is a connection over a line that can be held.
type gated struct {
	net.Conn
	l *line
}

func (g gated) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.l.reads.RLock() // what was on its way comes when the line is let go
	defer g.l.reads.RUnlock()
	return n, err
}

func (g gated) Write(b []byte) (int, error) {
	g.l.sends.RLock()
	defer g.l.sends.RUnlock()
	return g.Conn.Write(b)
}

// hold lets nothing through, in both ways, until let is called.
func (l *line) hold() (let func()) {
	l.reads.Lock()
	l.sends.Lock()
	return func() { l.reads.Unlock(); l.sends.Unlock() }
}

// holdAnswers lets nothing come from the server until let is called.
func (l *line) holdAnswers() (let func()) {
	l.reads.Lock()
	return l.reads.Unlock
}

// InProcessConn is what a client asks of an embedded server.
func (l *line) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errCut
	}
	conn, err := l.dial()
	if err != nil {
		return nil, err
	}
	l.conns = append(l.conns, conn)
	return gated{conn, l}, nil
}

// Dial is what a client asks of the network.
func (l *line) Dial(string, string) (net.Conn, error) { return l.InProcessConn() }

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close() // it may be closed by now
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
