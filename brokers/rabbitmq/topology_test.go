package rabbitmq_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// cleared has what a topology names deleted when the test ends.
func cleared(t *testing.T, ch *amqp.Channel, top rabbitmq.Topology) rabbitmq.Topology {
	t.Helper()
	t.Cleanup(func() {
		for _, q := range top.Queues {
			if _, err := ch.QueueDelete(q.Name, false, false, false); err != nil {
				t.Error(err)
			}
		}
		for _, x := range top.Exchanges {
			if err := ch.ExchangeDelete(x.Name, false, false); err != nil {
				t.Error(err)
			}
		}
	})
	return top
}

// orders is a topology of all that can be described, under names of its own.
func orders(name string) rabbitmq.Topology {
	return rabbitmq.Topology{
		Exchanges: []rabbitmq.ExchangeConfig{
			{Name: name, Kind: rabbitmq.ExchangeTopic, Alternate: name + ".lost"},
			{Name: name + ".lost", Kind: rabbitmq.ExchangeFanout},
			{Name: name + ".dead"},
		},
		Queues: []rabbitmq.QueueConfig{
			{
				Name: name + ".q", MessageTTL: 1500 * time.Microsecond, Expiry: time.Hour, MaxLength: 10, MaxBytes: 1 << 20, Overflow: rabbitmq.OverflowReject,
				DeadLetter: rabbitmq.DeadLetter{Exchange: name + ".dead", RoutingKey: "k", AtLeastOnce: true}, SingleActive: true, DeliveryLimit: 5,
			},
			{Name: name + ".c", Kind: rabbitmq.QueueClassic, MaxPriority: 5, Arguments: map[string]any{"x-queue-mode": "lazy"}},
			{Name: name + ".plain", DeadLetter: rabbitmq.DeadLetter{Exchange: rabbitmq.DefaultExchange, RoutingKey: name + ".c"}},
		},
		Bindings: []rabbitmq.BindingConfig{
			{Exchange: name, Queue: name + ".q", Key: "orders.*"},
			{Exchange: name, ToExchange: name + ".lost", Key: "lost.#"},
			{Exchange: name + ".lost", Queue: name + ".c"},
		},
	}
}

func apply(t *testing.T, b *rabbitmq.Broker, top rabbitmq.Topology) {
	t.Helper()
	if _, err := b.ApplyTopology(t.Context(), top, rabbitmq.TopologyDeclare); err != nil {
		t.Fatal(err)
	}
}

func TestTopologyAsData(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b := open(t, config(t, url))
		name := "topology-" + uuid.NewString()
		top := cleared(t, admin(t, url), orders(name))
		for range 2 { // a plan makes nothing
			change, err := b.PlanTopology(t.Context(), top)
			if err != nil || len(change.Missing) != 6 || len(change.Bindings) != 3 || len(change.Differences) != 0 {
				t.Fatalf("plan on a server without: %+v, %v", change, err)
			}
			want := fmt.Sprintf("make exchange %q\n", name)
			if text := change.String(); !strings.HasPrefix(text, want) || !strings.Contains(text, `by "orders.*"`) {
				t.Errorf("plan reads %q", text)
			}
		}
		var mismatch *rabbitmq.TopologyMismatchError
		if _, err := b.ApplyTopology(t.Context(), top, rabbitmq.TopologyCheck); !errors.As(err, &mismatch) || len(mismatch.Missing) != 6 {
			t.Errorf("check on a server without: %v", err)
		}
		if change, err := b.ApplyTopology(t.Context(), top, rabbitmq.TopologyLeave); err != nil || !change.None() {
			t.Errorf("left alone: %v, %v", change, err)
		}
		apply(t, b, top)
		for _, mode := range []rabbitmq.TopologyMode{rabbitmq.TopologyCheck, rabbitmq.TopologyDeclare, rabbitmq.TopologyCheck} {
			if change, err := b.ApplyTopology(t.Context(), top, mode); err != nil || !change.None() {
				t.Errorf("mode %d with the same: %v, %v", mode, change, err)
			}
		}
	})
}

// Each argument that differs is named, with what is there and what was asked for,
// and all of them at once.
func TestTopologyMismatch(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b := open(t, config(t, url))
		name := "topology-" + uuid.NewString()
		top := cleared(t, admin(t, url), orders(name))
		apply(t, b, top)
		other := orders(name)
		other.Exchanges[0] = rabbitmq.ExchangeConfig{Name: name, Kind: rabbitmq.ExchangeDirect, Transient: true, AutoDelete: true, Internal: true}
		other.Exchanges[1].Alternate = "elsewhere"
		other.Queues[0] = rabbitmq.QueueConfig{Name: name + ".q", MessageTTL: time.Minute, MaxLength: 11}
		other.Queues[1] = rabbitmq.QueueConfig{Name: name + ".c", Kind: rabbitmq.QueueClassic, Transient: true, AutoDelete: true}
		other.Queues[2] = rabbitmq.QueueConfig{Name: name + ".plain", Kind: rabbitmq.QueueClassic, SingleActive: true}
		want := []string{
			"exchange : type is topic, want direct",
			"exchange : durable is true, want false",
			"exchange : auto_delete is false, want true",
			"exchange : internal is false, want true",
			"exchange : alternate-exchange is NAME.lost, want none",
			"exchange .lost: alternate-exchange is none, want elsewhere",
			"queue .q: x-message-ttl is 2, want 60000",
			"queue .q: x-expires is 3600000, want none",
			"queue .q: x-max-length is 10, want 11",
			"queue .q: x-max-length-bytes is 1048576, want none",
			"queue .q: x-overflow is reject-publish, want none",
			"queue .q: x-dead-letter-exchange is NAME.dead, want none",
			"queue .q: x-dead-letter-routing-key is k, want none",
			"queue .q: x-dead-letter-strategy is at-least-once, want none",
			"queue .q: x-single-active-consumer is true, want none",
			"queue .q: x-delivery-limit is 5, want none",
			"queue .c: durable is true, want false",
			"queue .c: auto_delete is false, want true",
			"queue .c: x-max-priority is 5, want none",
			"queue .c: x-queue-mode is lazy, want none",
			"queue .plain: x-queue-type is quorum, want classic",
			"queue .plain: x-dead-letter-exchange is empty, want none",
			"queue .plain: x-dead-letter-routing-key is NAME.c, want none",
			"queue .plain: x-single-active-consumer is none, want true",
		}
		other.Queues = append(other.Queues, rabbitmq.QueueConfig{Name: name + ".not-made"})
		_, err := b.ApplyTopology(t.Context(), other, rabbitmq.TopologyDeclare)
		var mismatch *rabbitmq.TopologyMismatchError
		if !errors.As(err, &mismatch) {
			t.Fatalf("got %v; want a TopologyMismatchError", err)
		}
		var got []string
		for _, d := range mismatch.Differences {
			if !strings.Contains(err.Error(), d.String()) {
				t.Errorf("%v does not say: %v", err, d)
			}
			d.Name = strings.TrimPrefix(d.Name, name)
			text := fmt.Sprintf("%s %s: %s is %s, want %s", d.What, d.Name, d.Argument, d.Have, d.Want)
			got = append(got, strings.ReplaceAll(text, name, "NAME"))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if change, err := b.PlanTopology(t.Context(), rabbitmq.Topology{Queues: other.Queues[3:]}); err != nil || len(change.Missing) != 1 {
			t.Errorf("a queue was made beside those that differ: %v, %v", change, err)
		}
	})
}

// A name so long that the server's answer is cut.
func TestTopologyMismatchOfLongName(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b := open(t, config(t, url))
		long := strings.Repeat("q", 200) + uuid.NewString()
		top := cleared(t, admin(t, url), rabbitmq.Topology{Queues: []rabbitmq.QueueConfig{{Name: long, MaxLength: 5}}})
		apply(t, b, top)
		change, err := b.PlanTopology(t.Context(), rabbitmq.Topology{Queues: []rabbitmq.QueueConfig{{Name: long, MaxLength: 6}}})
		if err != nil || len(change.Differences) != 1 || change.Differences[0].Argument != "x-max-length" || !strings.Contains(change.Differences[0].Have, "unknown") {
			t.Errorf("got %+v, %v", change, err)
		}
		topic := strings.Repeat("t", 180) + uuid.NewString()
		for _, n := range []int{3, 3, 4} {
			err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: n})
			if (err == nil) != (n == 3) || err != nil && (!errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), "has 3")) {
				t.Errorf("%d partitions: %v", n, err)
			}
		}
	})
}

// What others look after is asked for, and never made.
func TestTopologyForeign(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		name := "topology-" + uuid.NewString()
		top := rabbitmq.Topology{
			Exchanges: []rabbitmq.ExchangeConfig{{Name: name, Foreign: true}, {Name: "amq.fanout", Foreign: true}},
			Queues:    []rabbitmq.QueueConfig{{Name: name, Foreign: true}, {Name: name + ".own"}},
		}
		var mismatch *rabbitmq.TopologyMismatchError
		change, err := b.ApplyTopology(t.Context(), top, rabbitmq.TopologyDeclare)
		if !errors.As(err, &mismatch) || len(mismatch.Missing) != 3 || !strings.Contains(change.String(), "cannot: foreign queue") {
			t.Fatalf("without what is foreign: %v, %v", change, err)
		}
		if change, err := b.PlanTopology(t.Context(), top); err != nil || len(change.Missing) != 3 {
			t.Errorf("something was made: %v, %v", change, err)
		}
		if err := ch.ExchangeDeclare(name, "headers", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: "classic", "x-max-length": 3}); err != nil {
			t.Fatal(err)
		}
		cleared(t, ch, rabbitmq.Topology{Exchanges: top.Exchanges[:1], Queues: top.Queues})
		apply(t, b, top)
	})
}

func TestTopologyWithoutPermission(t *testing.T) {
	url := serverURL(t, "TEST_AMQP_URL", false)
	manage(t, http.MethodPut, "/api/users/reader", `{"password": "reader", "tags": ""}`)
	manage(t, http.MethodPut, "/api/permissions/%2F/reader", `{"configure": "^$", "write": ".*", "read": ".*"}`)
	name := "topology-" + uuid.NewString()
	top := cleared(t, admin(t, url), rabbitmq.Topology{
		Exchanges: []rabbitmq.ExchangeConfig{{Name: name}}, Queues: []rabbitmq.QueueConfig{{Name: name}},
	})
	apply(t, open(t, config(t, url)), top)
	cfg := config(t, url)
	cfg.User, cfg.Password = "reader", brokers.NewSecret("reader")
	top.Queues = append(top.Queues, rabbitmq.QueueConfig{Name: name + ".missing"})
	change, err := open(t, cfg).PlanTopology(t.Context(), top)
	if err != nil || len(change.Unchecked) != 2 || len(change.Missing) != 1 || !strings.Contains(change.String(), "unchecked: exchange") {
		t.Errorf("got %+v, %v", change, err)
	}
}

func TestTopologyInvalid(t *testing.T) {
	b := open(t, config(t, serverURL(t, "TEST_AMQP_URL", false)))
	queue := func(q rabbitmq.QueueConfig) rabbitmq.Topology {
		if q.Name == "" {
			q.Name = "q"
		}
		return rabbitmq.Topology{Queues: []rabbitmq.QueueConfig{q}}
	}
	binding := func(c rabbitmq.BindingConfig) rabbitmq.Topology {
		return rabbitmq.Topology{Bindings: []rabbitmq.BindingConfig{c}}
	}
	for field, top := range map[string]rabbitmq.Topology{
		"ExchangeConfig.Name":          {Exchanges: []rabbitmq.ExchangeConfig{{}}},
		"ExchangeConfig.Name \"amq.x":  {Exchanges: []rabbitmq.ExchangeConfig{{Name: "amq.x"}}},
		"ExchangeConfig.Arguments":     {Exchanges: []rabbitmq.ExchangeConfig{{Name: "x", Arguments: map[string]any{"alternate-exchange": "y"}}}},
		"Exchanges has \"x\" twice":    {Exchanges: []rabbitmq.ExchangeConfig{{Name: "x"}, {Name: "x"}}},
		"QueueConfig.Name":             queue(rabbitmq.QueueConfig{Name: strings.Repeat("q", 256)}),
		"Queues has \"q\" twice":       {Queues: []rabbitmq.QueueConfig{{Name: "q"}, {Name: "q"}}},
		"QueueConfig.Kind":             queue(rabbitmq.QueueConfig{Kind: "stream"}),
		"QueueConfig.Transient":        queue(rabbitmq.QueueConfig{Transient: true}),
		"QueueConfig.AutoDelete":       queue(rabbitmq.QueueConfig{AutoDelete: true}),
		"QueueConfig.MaxPriority":      queue(rabbitmq.QueueConfig{MaxPriority: 1}),
		"QueueConfig.DeliveryLimit":    queue(rabbitmq.QueueConfig{DeliveryLimit: -2}),
		"QueueConfig.MaxLength":        queue(rabbitmq.QueueConfig{MaxLength: -1}),
		"QueueConfig.MessageTTL":       queue(rabbitmq.QueueConfig{MessageTTL: 50 * 24 * time.Hour}),
		"QueueConfig.Expiry":           queue(rabbitmq.QueueConfig{Expiry: -1}),
		"DeadLetter has no Exchange":   queue(rabbitmq.QueueConfig{DeadLetter: rabbitmq.DeadLetter{RoutingKey: "k"}}),
		"DeadLetter.AtLeastOnce":       queue(rabbitmq.QueueConfig{DeadLetter: rabbitmq.DeadLetter{Exchange: "x", AtLeastOnce: true}}),
		"QueueConfig.Arguments":        queue(rabbitmq.QueueConfig{Arguments: map[string]any{"x": struct{}{}}}),
		"BindingConfig.Exchange":       binding(rabbitmq.BindingConfig{Exchange: rabbitmq.DefaultExchange, Queue: "q"}),
		"Queue or ToExchange":          binding(rabbitmq.BindingConfig{Exchange: "x"}),
		"BindingConfig.Any":            binding(rabbitmq.BindingConfig{Exchange: "x", Queue: "q", Any: true}),
		"BindingConfig.Headers has x-": binding(rabbitmq.BindingConfig{Exchange: "x", Queue: "q", Headers: map[string]any{"x-match": "all"}}),
	} {
		if _, err := b.PlanTopology(t.Context(), top); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v; want ErrInvalid that says %s", err, field)
		}
	}
}

// A kind that the server has no plugin for closes connections of 3.10, but none
// that are at work.
func TestTopologyOfUnknownKind(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b := open(t, config(t, url))
		since := b.Health(t.Context()).Since
		top := rabbitmq.Topology{Exchanges: []rabbitmq.ExchangeConfig{{Name: "topology-" + uuid.NewString(), Kind: "x-nowhere"}}}
		for _, do := range []func() error{
			func() error { _, err := b.PlanTopology(t.Context(), top); return err },
			func() error { _, err := b.ApplyTopology(t.Context(), top, rabbitmq.TopologyDeclare); return err },
		} {
			if err := do(); !errors.Is(err, brokers.ErrUnsupported) || !strings.Contains(err.Error(), "x-nowhere") {
				t.Errorf("got %v; want ErrUnsupported", err)
			}
		}
		if h := b.Health(t.Context()); !h.Connected || h.Since != since {
			t.Errorf("health %+v", h)
		}
	})
}

// What is gone when a connection comes back is made before it is used: nothing
// that was published meanwhile is unroutable.
func TestTopologyIsRedeclared(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		var l line.Line
		cfg := config(t, url)
		cfg.Dial, cfg.RetryMax = l.Dial, time.Second
		b, ch := open(t, cfg), admin(t, url)
		name := "topology-" + uuid.NewString()
		top := cleared(t, ch, rabbitmq.Topology{
			Exchanges: []rabbitmq.ExchangeConfig{{Name: name, Kind: rabbitmq.ExchangeTopic, Transient: true}},
			Queues:    []rabbitmq.QueueConfig{{Name: name}},
			Bindings:  []rabbitmq.BindingConfig{{Exchange: name, Queue: name, Key: "a.*"}},
		})
		apply(t, b, top)
		p := publisher(t, b, brokers.PublisherConfig{})
		m := brokers.Message{Topic: name, RoutingKey: "a.b"}
		if _, err := p.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		l.Cut()
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			t.Fatal(err)
		}
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		if err := p.PublishAsync(t.Context(), m, func(_ brokers.Receipt, err error) { result <- err }); err != nil {
			t.Fatal(err)
		}
		l.Mend()
		if err := <-result; err != nil {
			t.Error(err)
		}
		if q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil || q.Messages != 1 {
			t.Errorf("the queue: %+v, %v", q, err)
		}

		// What cannot be declared any more shows, and the rest goes on.
		l.Cut()
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: "quorum", "x-max-length": 5}); err != nil {
			t.Fatal(err)
		}
		l.Mend()
		if _, err := p.Publish(t.Context(), brokers.Message{Topic: rabbitmq.DefaultExchange, RoutingKey: name}); err != nil {
			t.Error(err)
		}
		var mismatch *rabbitmq.TopologyMismatchError
		awaitHealth(t, b, func(h brokers.Health) bool { // the connection to consume may come back after that to publish
			return errors.As(h.Err, &mismatch) && strings.Contains(h.Err.Error(), "x-max-length is 5, want none")
		})
	})
}

// Each kind of exchange gives messages to the queues that it should.
func TestTopologyRoutes(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		name := "topology-" + uuid.NewString()
		queue := func(suffix string) rabbitmq.QueueConfig {
			return rabbitmq.QueueConfig{Name: name + suffix, Kind: rabbitmq.QueueClassic}
		}
		top := cleared(t, ch, rabbitmq.Topology{
			Exchanges: []rabbitmq.ExchangeConfig{
				{Name: name + ".topic", Kind: rabbitmq.ExchangeTopic, Alternate: name + ".fanout"},
				{Name: name + ".fanout", Kind: rabbitmq.ExchangeFanout},
				{Name: name + ".headers", Kind: rabbitmq.ExchangeHeaders},
				{Name: name + ".hash", Kind: rabbitmq.ExchangeConsistentHash},
				{Name: name + ".direct"},
			},
			Queues: []rabbitmq.QueueConfig{queue(".a"), queue(".b")},
			Bindings: []rabbitmq.BindingConfig{
				{Exchange: name + ".topic", Queue: name + ".a", Key: "orders.*.new"},
				{Exchange: name + ".fanout", Queue: name + ".a"},
				{Exchange: name + ".fanout", Queue: name + ".b"},
				{Exchange: name + ".headers", Queue: name + ".a", Headers: map[string]any{"n": int64(7), "b": true}},
				{Exchange: name + ".headers", Queue: name + ".b", Headers: map[string]any{"n": int64(7), "b": true}, Any: true},
				{Exchange: name + ".hash", Queue: name + ".a"},
				{Exchange: name + ".hash", Queue: name + ".b"},
				{Exchange: name + ".direct", ToExchange: name + ".fanout", Key: "all"},
			},
		})
		apply(t, b, top)
		p := publisher(t, b, brokers.PublisherConfig{})
		seven := brokers.Header{Key: "n", Value: []byte("7"), Kind: brokers.KindInt}
		yes := brokers.Header{Key: "b", Value: []byte("true"), Kind: brokers.KindBool}
		for _, c := range []struct {
			m    brokers.Message
			a, b int
		}{
			{brokers.Message{Topic: name + ".topic", RoutingKey: "orders.eu.new"}, 1, 0},
			{brokers.Message{Topic: name + ".topic", RoutingKey: "orders.eu.old"}, 1, 1}, // the alternate's
			{brokers.Message{Topic: name + ".fanout"}, 1, 1},
			{brokers.Message{Topic: name + ".headers", Headers: brokers.Headers{yes, seven}}, 1, 1},
			{brokers.Message{Topic: name + ".headers", Headers: brokers.Headers{seven}}, 0, 1},
			{brokers.Message{Topic: name + ".direct", RoutingKey: "all"}, 1, 1},
			{brokers.Message{Topic: rabbitmq.DefaultExchange, RoutingKey: name + ".b"}, 0, 1},
		} {
			if _, err := p.Publish(t.Context(), c.m); err != nil {
				t.Errorf("%s, %q: %v", c.m.Topic, c.m.RoutingKey, err)
			}
			if a, b := purge(t, ch, name+".a"), purge(t, ch, name+".b"); a != c.a || b != c.b {
				t.Errorf("%s, %q, %v: %d and %d; want %d and %d", c.m.Topic, c.m.RoutingKey, c.m.Headers, a, b, c.a, c.b)
			}
		}
		var all []brokers.Message
		for i := range 200 {
			all = append(all, brokers.Message{Topic: name + ".hash", RoutingKey: fmt.Sprint("key", i)})
		}
		if _, err := p.Publish(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
		if a, b := purge(t, ch, name+".a"), purge(t, ch, name+".b"); a+b != len(all) || a == 0 || b == 0 {
			t.Errorf("hashed to %d and %d", a, b)
		}
		_, err := p.Publish(t.Context(), brokers.Message{Topic: name + ".direct", RoutingKey: "none"}, brokers.Message{Topic: rabbitmq.DefaultExchange, RoutingKey: "no queue"})
		var failed *brokers.PublishError
		if !errors.As(err, &failed) || len(failed.Failures) != 2 || !errors.Is(&failed.Failures[1], brokers.ErrUnroutable) {
			t.Errorf("got %v; want both unroutable", err)
		}
	})
}

func purge(t *testing.T, ch *amqp.Channel, queue string) int {
	t.Helper()
	n, err := ch.QueuePurge(queue, false)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
