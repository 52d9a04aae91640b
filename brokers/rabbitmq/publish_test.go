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
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func publisher(t *testing.T, b *rabbitmq.Broker, cfg brokers.PublisherConfig) *brokers.Publisher {
	t.Helper()
	p, err := b.Publisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return p
}

// Messages that no queue takes are refused, each by name, and their neighbours in
// the window are not.
func TestUnroutable(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b := open(t, config(t, url))
		topic := "topic-" + uuid.NewString()
		if err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 1, Groups: []string{"g"}}); err != nil {
			t.Fatal(err)
		}
		const every = 7
		msgs := make([]brokers.Message, 500)
		for i := range msgs {
			msgs[i] = brokers.Message{Topic: topic, Payload: fmt.Append(nil, i)}
			if i%every == 0 {
				msgs[i].RoutingKey = fmt.Sprint("nowhere", i%3)
			}
		}
		receipts, err := publisher(t, b, brokers.PublisherConfig{Order: brokers.OrderNone}).Publish(t.Context(), msgs...)
		var failed *brokers.PublishError
		if !errors.As(err, &failed) || len(failed.Failures) != (len(msgs)+every-1)/every {
			t.Fatalf("got %v; want every %dth refused", err, every)
		}
		for _, f := range failed.Failures {
			key := msgs[f.Index].RoutingKey
			if key == "" || f.Outcome != brokers.Refused || !errors.Is(&f, brokers.ErrUnroutable) ||
				!strings.Contains(f.Error(), topic) || !strings.Contains(f.Error(), key) {
				t.Errorf("message %d, routing key %q: %v", f.Index, key, &f)
			}
		}
		for i, r := range receipts {
			if i%every != 0 && (r.Topic != topic || r.Offset != brokers.NoOffset) {
				t.Errorf("message %d: receipt %+v", i, r)
			}
		}
	})
}

// An exchange that is deleted under a publisher harms its messages only.
func TestExchangeDeleted(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		gone, kept := "topic-"+uuid.NewString(), "topic-"+uuid.NewString()
		for _, topic := range []string{gone, kept} {
			if err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 1, Groups: []string{"g"}}); err != nil {
				t.Fatal(err)
			}
		}
		p := publisher(t, b, brokers.PublisherConfig{})
		if _, err := p.Publish(t.Context(), brokers.Message{Topic: gone}, brokers.Message{Topic: kept}); err != nil {
			t.Fatal(err)
		}
		if err := ch.ExchangeDelete(gone, false, false); err != nil {
			t.Fatal(err)
		}
		var msgs []brokers.Message
		for i := range 100 {
			msgs = append(msgs, brokers.Message{Topic: kept, Key: fmt.Append(nil, i)})
		}
		msgs = append(msgs, brokers.Message{Topic: gone, Key: []byte("k")})
		timeout := 3 * time.Second
		p = publisher(t, b, brokers.PublisherConfig{DeliveryTimeout: timeout})
		result := make(chan error, len(msgs))
		for i := range msgs {
			topic := msgs[i].Topic
			if err := p.PublishAsync(t.Context(), msgs[i], func(_ brokers.Receipt, err error) {
				if (topic == gone) != (err != nil) {
					result <- fmt.Errorf("message to %s: %w", topic, err)
					return
				}
				if err != nil && !errors.Is(err, brokers.ErrUnknownTopic) {
					result <- fmt.Errorf("got %w; want ErrUnknownTopic", err)
					return
				}
				result <- nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range msgs {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
	})
}

// A connection that is lost with messages unconfirmed does not keep the publisher
// from taking more.
func TestTakesMessagesWhileDisconnected(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := &line.Line{}
		cfg := config(t, url)
		cfg.Dial = l.Dial
		b := open(t, cfg)
		topic := "topic-" + uuid.NewString()
		if err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 1, Groups: []string{"g"}}); err != nil {
			t.Fatal(err)
		}
		p := publisher(t, b, brokers.PublisherConfig{})
		stored, err := admin(t, url).Consume(rabbitmq.GroupQueue(topic, "g", 0), "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 3)
		put := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			m := brokers.Message{Topic: topic, Payload: []byte("x")}
			if err := p.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) { results <- err }); err != nil {
				t.Fatal(err)
			}
		}
		put()
		if err := <-results; err != nil {
			t.Fatal(err)
		}
		let := l.HoldAnswers()
		put()
		<-stored
		<-stored
		l.Cut()
		let()
		awaitDown(t, b)
		put()
		l.Mend()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// awaitDown returns when a broker knows that it is not connected.
func awaitDown(t *testing.T, b brokers.Broker) {
	t.Helper()
	awaitHealth(t, b, func(h brokers.Health) bool { return !h.Connected })
}

// awaitHealth returns when Health is as it should be.
func awaitHealth(t *testing.T, b brokers.Broker, is func(brokers.Health) bool) {
	t.Helper()
	ctx := lasting(t, 60*time.Second)
	for h := b.Health(ctx); !is(h); h = b.Health(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("Health is still %+v", h)
		}
		<-time.After(time.Millisecond) // nothing tells of it
	}
}

// What another program made can be published to, and what arrives is plain AMQP.
func TestForeignExchange(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		name := "foreign-" + uuid.NewString()
		if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(q.Name, "orders.#", name, false, nil); err != nil {
			t.Fatal(err)
		}
		_, err = publisher(t, b, brokers.PublisherConfig{}).Publish(t.Context(), brokers.Message{
			Topic: name, RoutingKey: "orders.new", Payload: []byte("p"), TTL: 1500*time.Microsecond + time.Minute,
			Headers: brokers.Headers{{Key: "n", Value: []byte("7"), Kind: brokers.KindInt}, {Key: "s", Value: []byte("t"), Kind: brokers.KindString}},
		})
		if err != nil {
			t.Fatal(err)
		}
		d, ok, err := ch.Get(q.Name, true)
		if err != nil || !ok {
			t.Fatal("nothing arrived:", err)
		}
		if d.DeliveryMode != amqp.Persistent || d.Expiration != "60002" || d.Headers["n"] != int64(7) || d.Headers["s"] != "t" || len(d.Headers) != 2 {
			t.Errorf("got %+v", d)
		}
		m := rabbitmq.FromDelivery(&d)
		if facts := m.Broker.(*rabbitmq.Delivery); m.RoutingKey != "orders.new" || facts.Exchange != name || m.ID != "" {
			t.Errorf("got %+v, %+v", m, facts)
		}
	})
}

// A history of deaths is the server's: no publisher forges it.
func TestDeaths(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		topic := "topic-" + uuid.NewString()
		dead, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.ExchangeDeclare(topic, amqp.ExchangeDirect, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{
			amqp.QueueTypeArg: amqp.QueueTypeClassic, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.Name,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(q.Name, "0", topic, false, nil); err != nil {
			t.Fatal(err)
		}
		forged := brokers.Headers{{Key: "x-death", Value: []byte("often")}, {Key: "CC", Value: []byte("elsewhere")}}
		if _, err := publisher(t, b, brokers.PublisherConfig{}).Publish(t.Context(), brokers.Message{Topic: topic, Key: []byte("k"), Headers: forged}); err != nil {
			t.Fatal(err)
		}
		d, ok, err := ch.Get(q.Name, false)
		if err != nil || !ok {
			t.Fatal("nothing arrived:", err)
		}
		m := rabbitmq.FromDelivery(&d)
		if len(m.Headers) != 2 || m.Headers.Text("x-death") != "often" || m.Broker.(*rabbitmq.Delivery).Deaths != nil {
			t.Errorf("got %+v with %+v", m, m.Broker)
		}
		deaths, err := ch.Consume(dead.Name, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Reject(false); err != nil {
			t.Fatal(err)
		}
		d = <-deaths
		m = rabbitmq.FromDelivery(&d)
		got := m.Broker.(*rabbitmq.Delivery).Deaths
		if len(got) != 1 || got[0].Queue != q.Name || got[0].Reason != "rejected" || got[0].Count != 1 || got[0].Exchange != topic ||
			len(got[0].RoutingKeys) != 1 || got[0].RoutingKeys[0] != "0" || got[0].Time.IsZero() {
			t.Errorf("deaths: %+v", got)
		}
		if string(m.Key) != "k" || m.Headers.Text("CC") != "elsewhere" {
			t.Errorf("got %+v", m)
		}
	})
}
