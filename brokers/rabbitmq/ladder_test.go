package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// A message goes over the steps of a ladder, each for its time, and comes back as
// it was; those behind it do not wait.
func TestLadder(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			cfg := quick(config(t, serverURL(t, s.plain, s.optional)))
			cfg.VirtualHost = s.vhost(t)
			name := "work-" + uuid.NewString()
			cfg.Queues = map[string]rabbitmq.Queue{"jobs": {Name: name}}
			b := open(t, cfg)
			if _, err := b.ApplyTopology(t.Context(), rabbitmq.Topology{Queues: []rabbitmq.QueueConfig{{Name: name}}}, rabbitmq.TopologyDeclare); err != nil {
				t.Fatal(err)
			}
			steps := []time.Duration{200 * time.Millisecond, time.Second, 200 * time.Millisecond}
			ladder, err := b.OpenLadder(t.Context(), name, steps...)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := ladder.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			ch := admin(t, serverURL(t, s.plain, s.optional)+cfg.VirtualHost)
			err = ch.Publish("", name, true, false, amqp.Publishing{Body: []byte("0"), MessageId: "id", Headers: amqp.Table{"n": int64(7)}})
			if err != nil {
				t.Fatal(err)
			}
			p := accept(t, compete(t, b, "jobs"))
			for retries := 0; ; retries++ {
				m := fetch(t, p, 0, 1)[0]
				if m.ID != "id" || m.Headers.Text("n") != "7" || retries > 0 && m.Headers.Text(rabbitmq.RetriesHeader) != fmt.Sprint(retries) {
					t.Fatalf("after %d retries: %+v", retries, m)
				}
				if original := m.Headers.Text("x-original-routingKey"); retries > 0 && original != name || retries == 0 && original != "" {
					t.Errorf("after %d retries: x-original-routingKey is %q", retries, original)
				}
				began := time.Now()
				err := ladder.Retry(t.Context(), &m)
				if retries == len(steps) {
					if !errors.Is(err, rabbitmq.ErrLadderEnds) {
						t.Errorf("after %d retries: %v", retries, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				settle(t, p, &m)
				if err := ch.Publish("", name, true, false, amqp.Publishing{Body: []byte("1")}); err != nil {
					t.Fatal(err)
				}
				other := fetch(t, p, 1, 2)[0] // at once
				settle(t, p, &other)
				fetchable(t, p, began.Add(steps[retries]))
			}
		})
	}
}

func settle(t *testing.T, p brokers.Partition, m *brokers.Message) {
	t.Helper()
	if err := p.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{m.Offset}}); err != nil {
		t.Fatal(err)
	}
}

// fetchable ends the test if something can be fetched before a time.
func fetchable(t *testing.T, p brokers.Partition, from time.Time) {
	t.Helper()
	const early = 20 * time.Millisecond // the server counts in milliseconds, and from when it has it
	ctx, cancel := context.WithDeadline(t.Context(), from.Add(-early))
	defer cancel()
	if got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 1}); err == nil {
		t.Fatalf("it came before its time: %+v", got)
	}
}

func TestLadderInvalid(t *testing.T) {
	var b rabbitmq.Broker
	for _, steps := range [][]time.Duration{nil, {0}, {time.Second, time.Microsecond}} {
		if _, err := b.OpenLadder(t.Context(), "work", steps...); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("%v: %v; want ErrInvalid", steps, err)
		}
	}
}
