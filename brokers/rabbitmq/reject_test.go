package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// morgue makes a fanout exchange with a queue of dead messages behind it.
func morgue(t *testing.T, ch *amqp.Channel) (exchange, queue string) {
	t.Helper()
	name := "dead-" + uuid.NewString()
	err := errors.Join(
		ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil),
		func() error {
			_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: "quorum"})
			return err
		}(),
		ch.QueueBind(name, "", name, false, nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			t.Error(err)
		}
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			t.Error(err)
		}
	})
	return name, name
}

// dead reads the n messages of a queue, as this package decodes them.
func dead(t *testing.T, ch *amqp.Channel, queue string, n int) []brokers.Message {
	t.Helper()
	deliveries, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []brokers.Message
	for ctx := lasting(t, time.Minute); len(got) < n; {
		select {
		case d := <-deliveries:
			got = append(got, rabbitmq.FromDelivery(&d))
		case <-ctx.Done():
			t.Fatalf("%d of %d dead messages", len(got), n)
		}
	}
	return got
}

// What is rejected lies in the broker's own dead-letter queue, as it was and with
// what the broker says of it, and nothing of it comes again, nor of what was
// acknowledged above and below it.
func TestReject(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		for mode, name := range map[brokers.Mode]string{brokers.ModeOrdered: "Ordered", brokers.ModeCompeting: "Competing"} {
			t.Run(name, func(t *testing.T) {
				cfg, ch := config(t, url), admin(t, url)
				exchange, queue := morgue(t, ch)
				cfg.DeadLetter = rabbitmq.DeadLetter{Exchange: exchange}
				g := newGroup(t, cfg)
				g.ensureAs(mode)
				g.publish(0, 8)
				sub := g.subscribe(brokers.SubscriptionConfig{Mode: mode, Rejects: true})
				p := accept(t, sub)
				msgs := fetch(t, p, 0, 8)
				at := func(i int) int64 { return msgs[i].Offset }
				for _, a := range []brokers.Ack{
					{UpTo: brokers.NoOffset, Above: []int64{at(5), at(3)}, Rejected: []int64{at(3)}},
					{UpTo: at(1), Rejected: []int64{at(0)}},
				} {
					if err := p.Ack(a); err != nil {
						t.Fatal(err)
					}
				}
				if err := p.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				again := accept(t, sub)
				var left []string
				for len(left) < 4 {
					got, err := again.Fetch(lasting(t, time.Minute), brokers.FetchLimit{Messages: 8})
					if err != nil {
						t.Fatalf("fetched %q: %v", left, err)
					}
					for i := range got {
						left = append(left, string(got[i].Payload))
					}
				}
				if !slices.Equal(left, []string{"2", "4", "6", "7"}) {
					t.Errorf("comes again: %q", left)
				}
				var texts []string
				for _, m := range dead(t, ch, queue, 2) {
					texts = append(texts, string(m.Payload))
					facts, is := m.Broker.(*rabbitmq.Delivery)
					if !is || len(facts.Deaths) != 1 || facts.Deaths[0].Reason != "rejected" || !strings.HasPrefix(facts.Deaths[0].Queue, g.topic) || string(m.Key) != "k" {
						t.Errorf("dead message %+v", m)
					}
				}
				slices.Sort(texts)
				if !slices.Equal(texts, []string{"0", "3"}) {
					t.Errorf("dead are %q", texts)
				}
			})
		}
	})
}

// ensureAs makes the topic and the group's queue for a mode.
func (g *group) ensureAs(mode brokers.Mode) {
	g.t.Helper()
	topic := brokers.TopicConfig{Name: g.topic, Partitions: 1, Groups: []string{g.name}}
	if mode == brokers.ModeCompeting {
		topic.Groups, topic.Competing = nil, topic.Groups
	}
	if err := g.b.EnsureTopic(g.t.Context(), topic); err != nil {
		g.t.Fatal(err)
	}
}

// Rejecting is refused where the message would be dropped, and the queue named.
func TestRejectNeedsAPlace(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		ch := admin(t, url)
		exchange, _ := morgue(t, ch)
		queue := func(suffix string, args amqp.Table) string {
			name := "queue-" + uuid.NewString() + suffix
			if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if _, err := ch.QueueDelete(name, false, false, false); err != nil {
					t.Error(err)
				}
			})
			return name
		}
		cfg := quick(config(t, url))
		cfg.Queues = map[string]rabbitmq.Queue{
			"bare":      {Name: queue(".bare", nil)},
			"by policy": {Name: queue(".policy", amqp.Table{"x-max-length": 100})},
			"lined":     {Name: queue(".lined", amqp.Table{"x-dead-letter-exchange": exchange, "x-max-length": 100, "x-message-ttl": 60_000})},
			"quorum":    {Name: queue(".quorum", amqp.Table{"x-dead-letter-exchange": exchange, amqp.QueueTypeArg: "quorum"})},
			"named":     {Bindings: []rabbitmq.BindingConfig{{Exchange: exchange}}},
		}
		cfg.PolicyDeadLetters = []string{cfg.Queues["by policy"].Name}
		b := open(t, cfg)
		for topic, says := range map[string]string{
			"bare": "no dead-letter exchange", "by policy": "", "lined": "", "quorum": "",
			"named": "names drops what is rejected", "none": "Config.DeadLetter is not set",
		} {
			ctx := lasting(t, time.Minute)
			sub, err := b.Subscribe(ctx, brokers.SubscriptionConfig{Group: "g", Topics: []string{topic}, Mode: brokers.ModeCompeting, Rejects: true})
			if err == nil {
				_, err = sub.Accept(ctx)
				ended, cancel := context.WithCancel(ctx)
				cancel()
				_ = sub.Close(ended)
			}
			if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), topic)) {
				t.Errorf("%s: %v; want %q", topic, err, says)
			}
		}
	})
}

// A group's queue that is taken as it is, whatever Config says, is looked at as those
// of others are.
func TestRejectFromALimitedQueue(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		for _, mode := range []brokers.Mode{brokers.ModeOrdered, brokers.ModeCompeting} {
			cfg, ch := config(t, url), admin(t, url)
			g := newGroup(t, cfg)
			if err := g.b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: g.topic, Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			if mode == brokers.ModeCompeting {
				g.queue = g.topic + "." + g.name + ".all"
			}
			if _, err := ch.QueueDeclare(g.queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: "quorum", "x-delivery-limit": int32(2)}); err != nil {
				t.Fatal(err)
			}
			cfg.LimitedQueues = []string{g.queue}
			cfg.DeadLetter.Exchange, _ = morgue(t, ch)
			g.b = open(t, quick(cfg))
			_, err := g.subscribe(brokers.SubscriptionConfig{Mode: mode, Rejects: true}).Accept(lasting(t, 20*time.Second))
			if err == nil || !strings.Contains(err.Error(), g.queue) || !strings.Contains(err.Error(), "no dead-letter exchange") {
				t.Errorf("mode %d: Accept: %v", mode, err)
			}
		}
	})
}

// A group's queue that was made with no dead-letter exchange is refused when there is
// to be one.
func TestRejectFromAnEarlierQueue(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		g := newGroup(t, cfg)
		g.ensure()
		cfg.DeadLetter.Exchange, _ = morgue(t, admin(t, url))
		g.b = open(t, quick(cfg))
		_, err := g.subscribe(brokers.SubscriptionConfig{Rejects: true}).Accept(lasting(t, time.Minute))
		if err == nil || !strings.Contains(err.Error(), g.queue) || !strings.Contains(err.Error(), "is none, and "+fmt.Sprint(cfg.DeadLetter.Exchange)) {
			t.Errorf("Accept: %v", err)
		}
	})
}
