package rabbitmq_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// Any queue can be worked off, of whatever kind, whoever made it: each message
// goes to one member, is acknowledged singly, and comes as it was published.
func TestCompetingOnAnyQueue(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		for _, kind := range []string{amqp.QueueTypeClassic, amqp.QueueTypeQuorum} {
			t.Run(kind, func(t *testing.T) {
				ch, name := admin(t, url), "work-"+uuid.NewString()
				if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: kind, "x-expires": int32(60_000)}); err != nil {
					t.Fatal(err)
				}
				cfg := quick(config(t, url))
				cfg.Queues = map[string]rabbitmq.Queue{"jobs": {Name: name}}
				var parts []brokers.Partition
				for range 2 {
					parts = append(parts, accept(t, compete(t, open(t, cfg), "jobs")))
				}
				const n = 40
				for i := range n {
					if err := ch.Publish("", name, true, false, amqp.Publishing{Body: fmt.Append(nil, i), Type: "job"}); err != nil {
						t.Fatal(err)
					}
				}
				seen := map[string]int{}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				for len(seen) < n {
					for _, p := range parts {
						within, done := context.WithTimeout(ctx, 50*time.Millisecond)
						got, err := p.Fetch(within, brokers.FetchLimit{Messages: 3})
						done()
						if err != nil && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
							t.Fatal(err)
						}
						for _, m := range got {
							seen[string(m.Payload)]++
							if m.Topic != "jobs" || m.RoutingKey != name || m.Broker.(*rabbitmq.Delivery).RoutingKey != name {
								t.Fatalf("got %+v", m)
							}
							if err := p.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{m.Offset}}); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				for body, times := range seen {
					if times != 1 {
						t.Errorf("message %s came %d times", body, times)
					}
				}
				for _, p := range parts {
					if err := p.Close(ctx); err != nil {
						t.Error(err)
					}
				}
				if q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil || q.Messages != 0 {
					t.Errorf("%d messages are left: %v", q.Messages, err)
				}
			})
		}
	})
}

// compete joins a competing group on a topic.
func compete(t *testing.T, b *rabbitmq.Broker, topic string) brokers.Subscription {
	t.Helper()
	g := &group{t: t, b: b, topic: topic, name: "workers"}
	return g.subscribe(brokers.SubscriptionConfig{Mode: brokers.ModeCompeting, MaxUnsettled: 20})
}

// A queue without order is not read in order, and one that cannot have messages
// not at all.
func TestQueuesInvalid(t *testing.T) {
	for field, q := range map[string]rabbitmq.Queue{
		"no Name and no Bindings": {},
		"a Name and Bindings":     {Name: "q", Bindings: []rabbitmq.BindingConfig{{Exchange: "events"}}},
		"Queue or ToExchange":     {Bindings: []rabbitmq.BindingConfig{{Exchange: "events", Queue: "q"}}},
		"BindingConfig.Exchange":  {Bindings: []rabbitmq.BindingConfig{{}}},
		"Name has 300 bytes":      {Name: strings.Repeat("n", 300)},
	} {
		_, err := rabbitmq.Open(t.Context(), rabbitmq.Config{Queues: map[string]rabbitmq.Queue{"jobs": q}})
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), `Queues["jobs"]`) {
			t.Errorf("%+v: %v; want ErrInvalid with %q", q, err, field)
		}
	}
	onEach(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		cfg.Queues = map[string]rabbitmq.Queue{"events": {Bindings: []rabbitmq.BindingConfig{{Exchange: "events"}}}}
		_, err := open(t, cfg).Subscribe(t.Context(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"events"}})
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), "SubscriptionConfig.Mode") {
			t.Errorf("Subscribe in order: %v", err)
		}
	})
}

// Scenario B13: the server names the queue. After each loss of all connections
// there is one such queue, bound once, read once, and everything comes.
func TestQueueWithoutAName(t *testing.T) {
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			cfg := quick(config(t, serverURL(t, s.plain, s.optional)))
			cfg.VirtualHost, cfg.Name, cfg.RetryMax = s.vhost(t), "nameless-"+uuid.NewString(), 200*time.Millisecond
			ch := admin(t, serverURL(t, s.plain, s.optional)+cfg.VirtualHost)
			if err := ch.ExchangeDeclare("events", amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			cfg.Queues = map[string]rabbitmq.Queue{"events": {Bindings: []rabbitmq.BindingConfig{{Exchange: "events"}}}}
			way := &line.Line{}
			cfg.Dial = way.Dial
			b := open(t, cfg)
			sub := compete(t, b, "events")
			const rounds = 10
			for round := range rounds {
				p := accept(t, sub)
				for half := range 2 {
					for i := range 3 {
						if err := ch.Publish("events", "", false, false, amqp.Publishing{Body: fmt.Append(nil, 3*half+i)}); err != nil {
							t.Fatal(err)
						}
					}
					got := fetch(t, p, 3*half, 3*half+3)
					if err := p.Ack(brokers.Ack{UpTo: got[2].Offset}); err != nil {
						t.Fatal(err)
					}
					if half == 0 {
						cut := way.Cut
						if round%5 == 0 { // as an operator does; the server needs seconds to find them
							cut = func() { s.closeConnections(t, cfg.Name) }
						}
						p = cutOff(t, cut, b, sub, p, way.Mend)
					}
				}
				s.wantOneQueue(t, cfg.VirtualHost, round == rounds-1)
				if err := p.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s.wantNothingRefused(t, cfg.VirtualHost)
		})
	}
}

// wantNothingRefused looks for what a server has refused in a virtual host, in the log
// of one that tests/services has started: 403, or 405.
func (s server) wantNothingRefused(t *testing.T, vhost string) {
	t.Helper()
	dir := os.Getenv("SERVICES_DIR")
	if dir == "" {
		return
	}
	log, err := os.ReadFile(filepath.Join(dir, strings.Replace(s.command, "ctl", "", 1), "log"))
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for line := range strings.Lines(string(log)) {
		here := strings.Contains(line, "'"+vhost+"'")
		seen = seen || here
		if here && (strings.Contains(line, "access_refused") || strings.Contains(line, "resource_locked")) {
			t.Errorf("the server's log: %s", line)
		}
	}
	if !seen {
		t.Errorf("the server's log says nothing of virtual host %q", vhost)
	}
}

// closeConnections closes all connections of a broker as an operator would.
func (s server) closeConnections(t *testing.T, name string) {
	t.Helper()
	closed := 0
	for deadline := time.Now().Add(30 * time.Second); closed < 2; {
		var connections []struct {
			Name     string `json:"name"`
			Provided string `json:"user_provided_name"`
		}
		if err := json.Unmarshal([]byte(s.api(t, http.MethodGet, "connections?columns=name,user_provided_name", "")), &connections); err != nil {
			t.Fatal(err)
		}
		for _, c := range connections {
			if strings.HasPrefix(c.Provided, name) {
				s.api(t, http.MethodDelete, "connections/"+url.PathEscape(c.Name), "")
				closed++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server shows %d connections", closed)
		}
	}
}

// cutOff cuts a broker off, and returns the next epoch.
func cutOff(t *testing.T, cut func(), b *rabbitmq.Broker, sub brokers.Subscription, p brokers.Partition, mend func()) brokers.Partition {
	t.Helper()
	cut()
	select {
	case <-p.Context().Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the epoch went on")
	}
	if h := b.Health(t.Context()); len(h.Subscriptions) != 1 || len(h.Subscriptions[0].Partitions) > 0 {
		t.Errorf("Health: %+v", h)
	}
	_ = p.Close(t.Context()) // it may say that the last acknowledgement is not confirmed
	mend()
	return accept(t, sub)
}

// wantOneQueue ends the test unless a virtual host has one queue, with one binding
// to the exchange, and, which the server counts every few seconds, one consumer.
func (s server) wantOneQueue(t *testing.T, vhost string, consumers bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		var queues []struct {
			Name      string `json:"name"`
			Consumers int    `json:"consumers"`
		}
		var bindings []struct {
			Source string `json:"source"`
		}
		text := s.api(t, http.MethodGet, "queues/"+vhost, "")
		err := errors.Join(json.Unmarshal([]byte(text), &queues),
			json.Unmarshal([]byte(s.api(t, http.MethodGet, "exchanges/"+vhost+"/events/bindings/source", "")), &bindings))
		if err != nil {
			t.Fatal(err)
		}
		if len(queues) == 1 && len(bindings) == 1 && (!consumers || queues[0].Consumers == 1) {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d bindings; queues: %.2000s", len(bindings), text)
		}
	}
}
