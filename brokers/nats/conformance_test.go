package nats_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for the time of a lease.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const lease = 2 * time.Second

// modes are the ways to acknowledge.
var modes = map[string]func(*nats.Config){
	"Each":   nil,
	"Prefix": func(cfg *nats.Config) { cfg.Acks = nats.AcksPrefix },
}

func TestConformance(t *testing.T) {
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			ls := embeddedLines(startEmbedded(t))
			ls.change = change
			h := ls.harness()
			h.Leaks = serverGoroutines
			brokertest.Run(t, h)
		})
	}
}

func TestConformanceOnServer(t *testing.T) {
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			ls := serverLines(strings.TrimPrefix(serverURL(t), "nats://"))
			ls.change = change
			h := ls.harness()
			h.MaxMessageBytes = 1<<20 - 4<<10 // the server's limit counts headers
			brokertest.Run(t, h)
		})
	}
}

// serverURL is a real server's, on its own.
func serverURL(tb testing.TB) string {
	tb.Helper()
	url := os.Getenv("TEST_NATS_URL")
	if url == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			tb.Fatal("TEST_NATS_URL is not set")
		}
		tb.Skip("TEST_NATS_URL is not set")
	}
	return url
}

func startEmbedded(tb testing.TB) *embedded.Server {
	tb.Helper()
	server, err := embedded.Start(embedded.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	return server
}

// config is a driver's with times that suit tests.
func config(options ...client.Option) nats.Config {
	return nats.Config{
		Options:        options,
		PinnedTTL:      lease,
		MemberInterval: 200 * time.Millisecond,
		FailoverAfter:  2 * time.Second,
		ReconnectWait:  100 * time.Millisecond,
	}
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

// admin does something to the server, as an operator would.
func (ls *lines) admin(do func(context.Context, jetstream.JetStream) error) error {
	nc, err := client.Connect("", ls.options(&line{dial: ls.dial})...)
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
	return do(ctx, js)
}

// manage does something to each consumer of a group.
func (ls *lines) manage(do func(context.Context, jetstream.Stream, string) error, topic, group string) error {
	return ls.admin(func(ctx context.Context, js jetstream.JetStream) error {
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
	})
}

func (ls *lines) deleteStream(topic string) error {
	return ls.admin(func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, topic) })
}

func deleteConsumer(ctx context.Context, s jetstream.Stream, name string) error {
	return s.DeleteConsumer(ctx, name)
}

func unpinConsumer(ctx context.Context, s jetstream.Stream, name string) error {
	return s.UnpinConsumer(ctx, name, "owner")
}
