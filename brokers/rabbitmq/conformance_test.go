package rabbitmq_test

import (
	"context"
	"errors"
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
		cfg := encrypted(t, s, true)
		cfg.PublishConnections = 3
		return cfg
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
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			for version, s := range servers {
				t.Run(version, func(t *testing.T) { conform(t, way(t, s), s) })
			}
		})
	}
}

// quick is a config whose members find each other soon.
func quick(cfg rabbitmq.Config) rabbitmq.Config {
	cfg.MemberInterval, cfg.FailoverAfter, cfg.RetryMax = 200*time.Millisecond, 2*time.Second, time.Second
	return cfg
}

func conform(t *testing.T, cfg rabbitmq.Config, s server) {
	t.Helper()
	cfg = quick(cfg)
	cfg.VirtualHost = s.vhost(t)
	adminURL := serverURL(t, s.plain, s.optional) + cfg.VirtualHost
	opened := &lines{}
	brokertest.Run(t, brokertest.Harness{
		Open: func(ctx context.Context) (brokers.Broker, error) {
			return opened.open(ctx, cfg, func(b *rabbitmq.Broker) brokers.Broker { return b })
		},
		Kill:       func(b brokers.Broker) error { opened.get(b).Cut(); return nil },
		Disconnect: opened.cut,
		Breaks: map[string]func(topic, group string) error{
			"QueuesDeleted": func(topic, group string) error { return deleteQueues(t.Context(), cfg, adminURL, topic, group) },
		},
	})
}

// deleteQueues deletes a group's queues, as an operator would, and waits until its
// members have made them anew.
func deleteQueues(ctx context.Context, cfg rabbitmq.Config, adminURL, topic, group string) error {
	conn, err := amqp.Dial(adminURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	const partitions = 12 // as the suite's topics have
	for id := range partitions {
		if _, err := ch.QueueDelete(rabbitmq.GroupQueue(topic, group, id), false, false, false); err != nil {
			return err
		}
	}
	for id := range partitions {
		if err := awaitQueue(ctx, conn, rabbitmq.GroupQueue(topic, group, id)); err != nil {
			return err
		}
	}
	// They are there; now that they are bound.
	b, err := rabbitmq.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(b.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: partitions, Groups: []string{group}}), b.Close())
}

// awaitQueue waits until a queue is there.
func awaitQueue(ctx context.Context, conn *amqp.Connection, name string) error {
	for {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if _, err = ch.QueueDeclarePassive(name, true, false, false, false, nil); err == nil {
			return ch.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// What the suite asks of topics, messages and publishing, as another client reads
// it.
func TestPublishingConformance(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			url := serverURL(t, s.plain, s.optional) + s.vhost(t)
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
