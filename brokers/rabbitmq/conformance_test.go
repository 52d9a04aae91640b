package rabbitmq_test

import (
	"context"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// ways to reach a server.
var ways = map[string]func(*testing.T, server) rabbitmq.Config{
	"Plain": func(t *testing.T, s server) rabbitmq.Config { return config(t, serverURL(t, s.plain, s.optional)) },
	"TLS":   func(t *testing.T, s server) rabbitmq.Config { return encrypted(t, s, false) },
	"MutualTLS": func(t *testing.T, s server) rabbitmq.Config {
		return encrypted(t, s, true)
	},
}

func encrypted(t *testing.T, s server, mutual bool) rabbitmq.Config {
	t.Helper()
	cfg := config(t, serverURL(t, s.tls, s.optional))
	cfg.TLS = clientTLS(t, mutual)
	return cfg
}

// lines are those of the brokers that a harness has opened.
type lines struct {
	mu sync.Mutex
	of map[brokers.Broker]*line.Line
}

// open opens a broker on a line of its own, and hands out what as makes of it.
func (l *lines) open(ctx context.Context, cfg rabbitmq.Config, as func(*rabbitmq.Broker) brokers.Broker) (brokers.Broker, error) {
	x := &line.Line{}
	cfg.Dial = x.Dial
	opened, err := rabbitmq.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b := as(opened)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[brokers.Broker]*line.Line{}
	}
	l.of[b] = x
	return b, nil
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

// The suite, over each way to reach each server.
func TestConformance(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			for name, way := range ways {
				t.Run(name, func(t *testing.T) { conform(t, s, way(t, s)) })
			}
		})
	}
}

func conform(t *testing.T, s server, cfg rabbitmq.Config) {
	t.Helper()
	cfg.MemberInterval, cfg.FailoverAfter, cfg.RetryMax = 200*time.Millisecond, 2*time.Second, time.Second
	opened := &lines{}
	brokertest.Run(t, brokertest.Harness{
		Open: func(ctx context.Context) (brokers.Broker, error) {
			return opened.open(ctx, cfg, func(b *rabbitmq.Broker) brokers.Broker { return b })
		},
		Kill:       func(b brokers.Broker) error { opened.get(b).Cut(); return nil },
		Disconnect: opened.cut,
		Breaks:     map[string]func(topic, group string) error{},
	})
}

// What the suite asks of topics, messages and publishing, as another client reads
// it.
func TestPublishingConformance(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			url := serverURL(t, s.plain, s.optional)
			opened := &lines{}
			brokertest.Run(t, brokertest.Harness{
				Only: []string{"Topic", "Message", "Publish"},
				Skip: map[string]string{
					"Topic/MadeLater":              "is about subscriptions",
					"Topic/MadeLaterBesideAnother": "is about subscriptions",
				},
				Open: func(ctx context.Context) (brokers.Broker, error) {
					return opened.open(ctx, config(t, url), func(b *rabbitmq.Broker) brokers.Broker {
						return &judged{b, func() (*amqp.Connection, error) { return amqp.Dial(url) }}
					})
				},
				Disconnect: opened.cut,
			})
		})
	}
}
