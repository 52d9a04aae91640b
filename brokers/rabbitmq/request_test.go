package rabbitmq_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func lasting(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func respond(t *testing.T, b *rabbitmq.Broker, topic string, answer brokers.AnswerFunc) {
	t.Helper()
	r, err := b.Respond(t.Context(), brokers.RespondConfig{Topic: topic}, answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// Other clients ask and answer as they do everywhere: reply-to and correlation-id.
func TestRequestsOfOthers(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		topic := "topic-" + uuid.NewString()
		respond(t, b, topic, func(_ context.Context, m *brokers.Message) (brokers.Message, error) {
			if m.CorrelationID != "mine" || m.ReplyTo == "" || string(m.Payload) != "ping" {
				t.Errorf("the handler got %+v", m)
			}
			return brokers.Message{Payload: []byte("pong")}, nil
		})
		q, err := ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		replies, err := ch.Consume(q.Name, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		ask := amqp.Publishing{CorrelationId: "mine", ReplyTo: q.Name, Body: []byte("ping")}
		if err := ch.Publish("troupe.requests", topic, true, false, ask); err != nil {
			t.Fatal(err)
		}
		if d := <-replies; d.CorrelationId != "mine" || string(d.Body) != "pong" || d.DeliveryMode != amqp.Transient {
			t.Errorf("got %+v", d)
		}

		other := topic + ".other"
		if err := ch.QueueBind(q.Name, other, "troupe.requests", false, nil); err != nil {
			t.Fatal(err)
		}
		type result struct {
			m   brokers.Message
			err error
		}
		asked := make(chan result, 1)
		ctx := lasting(t, 20*time.Second)
		go func() {
			m, err := b.Request(ctx, brokers.Message{Topic: other, CorrelationID: "mine", Payload: []byte("ping")})
			asked <- result{m, err}
		}()
		d := <-replies
		if d.Expiration == "" || d.DeliveryMode != amqp.Transient || d.Headers["troupe-correlation-id"] != "mine" {
			t.Errorf("a request of ours: %+v", d)
		}
		for _, id := range []string{"nobody's", d.CorrelationId, d.CorrelationId} {
			if err := ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: id, Body: []byte("pong to " + id)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-asked; got.err != nil || string(got.m.Payload) != "pong to "+d.CorrelationId || got.m.CorrelationID != "mine" {
			t.Errorf("got %+v", got)
		}
	})
}

// What does not fit is said to who sent it.
func TestRequestLimits(t *testing.T) {
	b := open(t, config(t, serverURL(t, "TEST_AMQP_URL", false)))
	topic := "topic-" + uuid.NewString()
	large := brokers.Headers{{Key: "h", Value: make([]byte, 130<<10)}}
	respond(t, b, topic, func(context.Context, *brokers.Message) (brokers.Message, error) {
		return brokers.Message{Headers: large}, nil
	})
	var refused *brokers.ReplyError
	if _, err := b.Request(lasting(t, 20*time.Second), brokers.Message{Topic: topic}); !errors.As(err, &refused) ||
		refused.Code != brokers.CodeInternal || !strings.Contains(refused.Message, "too large") {
		t.Errorf("a reply with large headers: %v", err)
	}
	for field, m := range map[string]brokers.Message{
		"Message.Topic":         {Topic: strings.Repeat("t", 256)},
		"Message.CorrelationID": {Topic: topic, CorrelationID: strings.Repeat("c", 256)},
		"Message.Key":           {Topic: topic, Headers: large},
		"Message.ContentType":   {Topic: topic, ContentType: strings.Repeat("c", 256)},
	} {
		_, err := b.Request(t.Context(), m)
		if !errors.Is(err, brokers.ErrInvalid) && !errors.Is(err, brokers.ErrTooLarge) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v", field, err)
		}
	}
	_, err := b.Respond(t.Context(), brokers.RespondConfig{Topic: strings.Repeat("t", 250)}, nil)
	if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), "RespondConfig.Topic") {
		t.Errorf("a topic too long: %v", err)
	}
}
