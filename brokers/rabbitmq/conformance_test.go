package rabbitmq_test

import (
	"context"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// What the suite asks of topics, messages and publishing, as another client reads
// it.
func TestPublishingConformance(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			url := serverURL(t, s.plain, s.optional)
			t.Run("Plain", func(t *testing.T) { publishingConformance(t, config(t, url), url) })
			t.Run("MutualTLS", func(t *testing.T) {
				cfg := config(t, serverURL(t, s.tls, s.optional))
				cfg.TLS = clientTLS(t, true)
				publishingConformance(t, cfg, url)
			})
		})
	}
}

func publishingConformance(t *testing.T, cfg rabbitmq.Config, judge string) {
	t.Helper()
	var mu sync.Mutex
	lines := map[brokers.Broker]*line.Line{}
	brokertest.Run(t, brokertest.Harness{
		Only: []string{"Topic", "Message", "Publish"},
		Skip: map[string]string{
			"Topic/MadeLater":              "is about subscriptions",
			"Topic/MadeLaterBesideAnother": "is about subscriptions",
		},
		Open: func(ctx context.Context) (brokers.Broker, error) {
			l := &line.Line{}
			cfg := cfg
			cfg.Dial = l.Dial
			b, err := rabbitmq.Open(ctx, cfg)
			if err != nil {
				return nil, err
			}
			j := &judged{b, func() (*amqp.Connection, error) { return amqp.Dial(judge) }}
			mu.Lock()
			defer mu.Unlock()
			lines[j] = l
			return j, nil
		},
		Disconnect: func(b brokers.Broker) (func() error, error) {
			mu.Lock()
			defer mu.Unlock()
			l := lines[b]
			l.Cut()
			return func() error { l.Mend(); return nil }, nil
		},
	})
}
