package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// way is one way to reach the cluster.
type way struct {
	variable string
	login    bool
	tls      func(*testing.T) *tls.Config
}

var ways = map[string]way{
	"Plain":     {variable: "TEST_KAFKA_URL"},
	"SASL":      {variable: "TEST_KAFKA_SASL_URL", login: true},
	"TLS":       {variable: "TEST_KAFKA_TLS_URL", tls: serverTLS},
	"MutualTLS": {variable: "TEST_KAFKA_TLS_URL", tls: mutualTLS},
}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("TEST_CA_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AppendCertsFromPEM(text)
	return cfg
}

func mutualTLS(t *testing.T) *tls.Config {
	t.Helper()
	cfg := serverTLS(t)
	pair, err := tls.LoadX509KeyPair(os.Getenv("TEST_CLIENT_CERT_FILE"), os.Getenv("TEST_CLIENT_KEY_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg
}

// config is what a way needs, on a line that can be cut.
func (w way) config(t *testing.T, l *line.Line) kafka.Config {
	t.Helper()
	cfg := kafka.Config{Seeds: seeds(serverURL(t, w.variable)), Dial: l.Dial}
	if w.login {
		cfg.User, cfg.Password = "app", brokers.NewSecret("app-secret")
	}
	if w.tls != nil {
		cfg.TLS = w.tls(t)
	}
	return cfg
}

// judge is what franz-go needs on the same way.
func (w way) judge(t *testing.T) []kgo.Opt {
	t.Helper()
	options := []kgo.Opt{kgo.SeedBrokers(seeds(serverURL(t, w.variable))...)}
	if w.login {
		options = append(options, kgo.SASL(scram.Auth{User: "app", Pass: "app-secret"}.AsSha512Mechanism()))
	}
	if w.tls != nil {
		options = append(options, kgo.DialTLSConfig(w.tls(t)))
	}
	return options
}

// lines are those of the brokers that a harness has opened.
type lines struct {
	mu sync.Mutex
	of map[brokers.Broker]*line.Line
}

func (l *lines) add(b brokers.Broker, x *line.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[brokers.Broker]*line.Line{}
	}
	l.of[b] = x
}

func (l *lines) get(b brokers.Broker) *line.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[b]
}

// cut is a harness's way to disconnect.
func (l *lines) cut(b brokers.Broker) (func() error, error) {
	x := l.get(b)
	x.Cut()
	return func() error { x.Mend(); return nil }, nil
}

// quick is a config whose failures are noticed soon.
func quick(cfg kafka.Config) kafka.Config {
	cfg.SessionTimeout, cfg.HeartbeatInterval = 3*time.Second, 200*time.Millisecond
	cfg.RebalanceTimeout = 10 * time.Second
	return cfg
}

// The suite, over each way to reach a cluster.
func TestConformance(t *testing.T) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) { conform(t, nil, func(l *line.Line) kafka.Config { return quick(w.config(t, l)) }) })
	}
}

// The same in groups that share out by ranges, where all give everything back.
func TestConformanceOfRange(t *testing.T) {
	const eager = "such a group wants everything back at each rebalance"
	skip := map[string]string{"Fetch/PauseAll": eager, "Revoking/Drains": eager, "Accept/TwoOfOneConnection": eager}
	conform(t, skip, func(l *line.Line) kafka.Config {
		cfg := quick(ways["Plain"].config(t, l))
		cfg.Assignor = kafka.AssignRange
		return cfg
	})
}

func conform(t *testing.T, skip map[string]string, config func(*line.Line) kafka.Config) {
	t.Helper()
	opened := &lines{}
	config(&line.Line{}) // it skips, or fails, without a server
	brokertest.Run(t, brokertest.Harness{
		Name: throwaway(t),
		Open: func(ctx context.Context) (brokers.Broker, error) {
			l := &line.Line{}
			b, err := kafka.Open(ctx, config(l))
			if err != nil {
				return nil, err
			}
			opened.add(b, l)
			return b, nil
		},
		MaxMessageBytes: 1<<20 - 4<<10, // the cluster's limit counts the batch
		RefusedBytes:    2 << 20,
		Skip:            skip,
		Lease:           4 * time.Second,
		Kill:            func(b brokers.Broker) error { opened.get(b).Cut(); return nil },
		Disconnect:      opened.cut,
	})
}

// throwaway names topics that are deleted with the test: a node that has thousands
// of them takes its time to start again.
func throwaway(t *testing.T) func(kind string) string {
	t.Helper()
	var mu sync.Mutex
	var topics []string
	t.Cleanup(func() { deleteTopics(t, seeds(serverURL(t, "TEST_KAFKA_URL")), topics...) })
	return func(kind string) string {
		name := kind + "-" + uuid.NewString()
		if kind == "topic" {
			mu.Lock()
			defer mu.Unlock()
			topics = append(topics, name)
		}
		return name
	}
}

// What the suite asks of topics, messages and publishing, as another client reads
// it.
func TestPublishingConformance(t *testing.T) {
	w := ways["Plain"]
	options := w.judge(t)
	opened := &lines{}
	brokertest.Run(t, brokertest.Harness{
		Name: throwaway(t),
		Only: []string{"Topic", "Message", "Publish"},
		Skip: map[string]string{
			"Topic/MadeLater":              "is about subscriptions",
			"Topic/MadeLaterBesideAnother": "is about subscriptions",
		},
		Open: func(ctx context.Context) (brokers.Broker, error) {
			l := &line.Line{}
			b, err := kafka.Open(ctx, w.config(t, l))
			if err != nil {
				return nil, err
			}
			j := &judged{b, options}
			opened.add(j, l)
			return j, nil
		},
		MaxMessageBytes: 1<<20 - 4<<10,
		RefusedBytes:    2 << 20,
		Disconnect:      opened.cut,
	})
}
