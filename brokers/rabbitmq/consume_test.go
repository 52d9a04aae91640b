package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// group is a topic of one partition with a group, and a broker of its own.
type group struct {
	t     *testing.T
	b     *rabbitmq.Broker
	topic string
	name  string
	queue string
}

func newGroup(t *testing.T, cfg rabbitmq.Config) *group {
	t.Helper()
	g := &group{t: t, b: open(t, quick(cfg)), topic: "topic-" + uuid.NewString(), name: "group"}
	g.queue = rabbitmq.GroupQueue(g.topic, g.name, 0)
	return g
}

func (g *group) ensure() {
	g.t.Helper()
	err := g.b.EnsureTopic(g.t.Context(), brokers.TopicConfig{Name: g.topic, Partitions: 1, Groups: []string{g.name}})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) publish(from, to int) {
	g.t.Helper()
	var msgs []brokers.Message
	for n := from; n < to; n++ {
		msgs = append(msgs, brokers.Message{Topic: g.topic, Key: []byte("k"), Payload: fmt.Append(nil, n)})
	}
	if _, err := publisher(g.t, g.b, brokers.PublisherConfig{}).Publish(g.t.Context(), msgs...); err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) subscribe(cfg brokers.SubscriptionConfig) brokers.Subscription {
	g.t.Helper()
	cfg.Group, cfg.Topics = g.name, []string{g.topic}
	sub, err := g.b.Subscribe(g.t.Context(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = sub.Close(ended) // it returns nil
	})
	return sub
}

func accept(t *testing.T, sub brokers.Subscription) brokers.Partition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := sub.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fetch fetches messages that are numbered from..to-1, of one key.
func fetch(t *testing.T, p brokers.Partition, from, to int) []brokers.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []brokers.Message
	for len(got) < to-from {
		batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: to - from - len(got)})
		if err != nil {
			t.Fatalf("%v, after %d of %d messages", err, len(got), to-from)
		}
		got = append(got, batch...)
	}
	for i := range got {
		if string(got[i].Payload) != fmt.Sprint(from+i) {
			t.Fatalf("message %d is %q, not %d", i, got[i].Payload, from+i)
		}
	}
	return got
}

// A queue of a group that was made otherwise is refused, with the difference. One
// with a delivery limit is read only if Config says so.
func TestQueuesThatAreRefused(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		for name, c := range map[string]struct {
			args amqp.Table
			says []string
		}{
			"limit":  {amqp.Table{amqp.QueueTypeArg: "quorum", amqp.SingleActiveConsumerArg: true, "x-delivery-limit": int32(2)}, []string{"x-delivery-limit is 2", "LimitedQueues"}},
			"shared": {amqp.Table{amqp.QueueTypeArg: "quorum", "x-delivery-limit": int32(-1)}, []string{"x-single-active-consumer is none"}},
		} {
			t.Run(name, func(t *testing.T) {
				g := newGroup(t, config(t, url))
				ch := admin(t, url)
				if name == "shared" && strings.Contains(t.Name(), "3.10") {
					delete(c.args, "x-delivery-limit") // it wants none below 0
				}
				if _, err := ch.QueueDeclare(g.queue, true, false, false, false, c.args); err != nil {
					t.Fatal(err)
				}
				if err := g.b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: g.topic, Partitions: 1}); err != nil {
					t.Fatal(err)
				}
				_, err := g.subscribe(brokers.SubscriptionConfig{}).Accept(t.Context())
				for _, text := range append(c.says, g.queue) {
					if err == nil || !strings.Contains(err.Error(), text) {
						t.Errorf("Accept: %v; want an error with %q", err, text)
					}
				}
				if name != "limit" {
					return
				}
				cfg := config(t, url)
				cfg.LimitedQueues = []string{g.queue}
				g.b = open(t, quick(cfg))
				sub := g.subscribe(brokers.SubscriptionConfig{})
				g.publishFirst()
				g.publish(1, 3)
				fetch(t, accept(t, sub), 0, 3)
			})
		}
	})
}

// publishFirst publishes message 0 as soon as the group's queue is bound.
func (g *group) publishFirst() {
	g.t.Helper()
	p := publisher(g.t, g.b, brokers.PublisherConfig{})
	for {
		_, err := p.Publish(g.t.Context(), brokers.Message{Topic: g.topic, Key: []byte("k"), Payload: []byte("0")})
		if err == nil {
			return
		}
		if !errors.Is(err, brokers.ErrUnroutable) {
			g.t.Fatal(err)
		}
	}
}

// An exchange of others is not read in order: whoever made it routes otherwise.
func TestForeignExchangeIsNoTopic(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		g := newGroup(t, config(t, url))
		if err := admin(t, url).ExchangeDeclare(g.topic, amqp.ExchangeTopic, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		g.subscribe(brokers.SubscriptionConfig{})
		awaitHealth(t, g.b, func(h brokers.Health) bool {
			subs := h.Subscriptions
			return len(subs) == 1 && subs[0].Err != nil && strings.Contains(subs[0].Err.Error(), "not made as a topic")
		})
	})
}
