package embedded_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lease = 2 * time.Second

func TestConformance(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	lines := &lines{server: server, of: map[brokers.Broker]*line{}}
	brokertest.Run(t, brokertest.Harness{
		Open:         lines.open,
		RefusedBytes: 2 << 20,
		Lease:        lease,
		Leaks:        serverGoroutines,
		Breaks: map[string]func(topic, group string) error{
			"ConsumerDeleted":  func(topic, group string) error { return manage(server, deleteConsumer, topic, group) },
			"ConsumerUnpinned": func(topic, group string) error { return manage(server, unpinConsumer, topic, group) },
			"LinesCut":         func(string, string) error { lines.blip(); return nil },
		},
		Kill: func(b brokers.Broker) error { lines.line(b).cut(); return nil },
		Disconnect: func(b brokers.Broker) (func() error, error) {
			l := lines.line(b)
			l.cut()
			return func() error { l.mend(); return nil }, nil
		},
	})
}

// serverGoroutines run for each stream and consumer of the server.
var serverGoroutines = []goleak.Option{
	goleak.IgnoreAnyFunction(serverPackage + "(*consumer).loopAndGatherMsgs"),
	goleak.IgnoreAnyFunction(serverPackage + "(*consumer).processInboundAcks"),
	goleak.IgnoreAnyFunction(serverPackage + "(*consumer).processInboundNextMsgReqs"),
	goleak.IgnoreAnyFunction(serverPackage + "(*consumerFileStore).flushLoop"),
	goleak.IgnoreAnyFunction(serverPackage + "(*fileStore).flushStreamStateLoop"),
	goleak.IgnoreAnyFunction(serverPackage + "(*stream).internalLoop"),
	goleak.IgnoreAnyFunction(serverPackage + "(*stream).signalConsumersLoop"),
	goleak.IgnoreAnyFunction(serverPackage + "(*client).readLoop"),
	goleak.IgnoreAnyFunction(serverPackage + "(*client).writeLoop"),
	goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
}

const serverPackage = "github.com/nats-io/nats-server/v2/server."

// manage does something to each consumer of a group, as an operator would.
func manage(s *embedded.Server, do func(context.Context, jetstream.Stream, string) error, topic, group string) error {
	nc, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, topic)
	if err != nil {
		return err
	}
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, group+"-") {
			err = errors.Join(err, do(ctx, stream, name))
		}
	}
	return errors.Join(err, names.Err())
}

func deleteConsumer(ctx context.Context, s jetstream.Stream, name string) error {
	return s.DeleteConsumer(ctx, name)
}

func unpinConsumer(ctx context.Context, s jetstream.Stream, name string) error {
	return s.UnpinConsumer(ctx, name, "owner")
}

var errCut = errors.New("the line is cut")

// lines are the connections to one server, each of which can be cut.
type lines struct {
	server *embedded.Server
	mu     sync.Mutex
	of     map[brokers.Broker]*line
}

func (ls *lines) open(ctx context.Context) (brokers.Broker, error) {
	l := &line{server: ls.server}
	b, err := nats.Open(ctx, nats.Config{
		Options:        []client.Option{client.InProcessServer(l)},
		PinnedTTL:      lease,
		MemberInterval: 200 * time.Millisecond,
		FailoverAfter:  2 * time.Second,
		ReconnectWait:  100 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.of[b] = l
	return b, nil
}

// blip cuts all lines and mends them at once.
func (ls *lines) blip() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.of {
		l.cut()
		l.mend()
	}
}

func (ls *lines) line(b brokers.Broker) *line {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.of[b]
}

// line is the way of one client to the server.
type line struct {
	server *embedded.Server
	mu     sync.Mutex
	down   bool
	conns  []net.Conn
}

// InProcessConn is what the client asks for a connection.
func (l *line) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errCut
	}
	conn, err := l.server.InProcessConn()
	l.conns = append(l.conns, conn)
	return conn, err
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
