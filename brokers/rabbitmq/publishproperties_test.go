package rabbitmq_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// get takes the next message of a queue.
func get(t *testing.T, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	if err != nil || !ok {
		t.Fatalf("nothing in %q: %v", queue, err)
	}
	return d
}

// scratch makes a queue that goes with the test, and how to publish to it.
func scratch(t *testing.T, ch *amqp.Channel, args amqp.Table) (queue string, to func(brokers.Message) brokers.Message) {
	t.Helper()
	if args == nil {
		args = amqp.Table{}
	}
	args[amqp.QueueTypeArg] = amqp.QueueTypeClassic
	q, err := ch.QueueDeclare("", false, true, true, false, args)
	if err != nil {
		t.Fatal(err)
	}
	return q.Name, func(m brokers.Message) brokers.Message {
		m.Topic, m.RoutingKey = rabbitmq.DefaultExchange, q.Name
		return m
	}
}

// Times to live are whole milliseconds, rounded up; what is none is refused by
// itself, with the field's name.
func TestTimesToLive(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		dead, _ := scratch(t, ch, nil)
		queue, to := scratch(t, ch, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
		p := publisher(t, b, brokers.PublisherConfig{Order: brokers.OrderNone})
		for ttl, want := range map[time.Duration]string{
			0: "", 898_486_780_600: "898487", 1: "1", 40 * 24 * time.Hour: "3456000000",
			-time.Second: "refused", math.MaxInt64: "refused", 50 * 24 * time.Hour: "refused",
		} {
			_, err := p.Publish(lasting(t, 10*time.Second), to(brokers.Message{TTL: ttl, ID: "timed"}), to(brokers.Message{ID: "plain"}))
			if want == "refused" {
				var failed *brokers.PublishError
				if !errors.As(err, &failed) || len(failed.Failures) != 1 || failed.Failures[0].Index != 0 ||
					failed.Failures[0].Outcome != brokers.Refused || !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), "Message.TTL") {
					t.Errorf("%v: %v; want the first refused for its TTL", ttl, err)
				}
			} else if err != nil {
				t.Errorf("%v: %v", ttl, err)
			}
			if want != "refused" {
				// One of 1 ms may be gone by now.
				if d, ok, err := ch.Get(queue, true); err != nil || ok && d.MessageId == "timed" && d.Expiration != want {
					t.Errorf("%v: %q, %v; want %q", ttl, d.Expiration, err, want)
				}
			}
			purge(t, ch, queue)
		}
		purge(t, ch, dead)
		// One of two seconds is there after one, and then in the dead-letter queue.
		deaths, err := ch.Consume(dead, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		published := time.Now()
		if _, err := p.Publish(t.Context(), to(brokers.Message{TTL: 2 * time.Second})); err != nil {
			t.Fatal(err)
		}
		d := <-deaths
		m := rabbitmq.FromDelivery(&d)
		if lived := time.Since(published); lived < 1900*time.Millisecond || lived > 10*time.Second || m.TTL != 0 {
			t.Errorf("it lived for %v, and has a TTL of %v", lived, m.TTL)
		}
		if deaths := m.Broker.(*rabbitmq.Delivery).Deaths; len(deaths) != 1 || deaths[0].Reason != "expired" || deaths[0].Queue != queue {
			t.Errorf("deaths %+v", deaths)
		}
	})
}

// Priorities are honoured by queues that have them.
func TestPriorities(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		queue, to := scratch(t, ch, amqp.Table{"x-max-priority": 9})
		var msgs []brokers.Message
		for _, priority := range []uint8{1, 9, 5} {
			msgs = append(msgs, to(brokers.Message{Priority: priority}))
		}
		if _, err := publisher(t, b, brokers.PublisherConfig{}).Publish(t.Context(), msgs...); err != nil {
			t.Fatal(err)
		}
		var got []uint8
		for range msgs {
			d := get(t, ch, queue)
			got = append(got, rabbitmq.FromDelivery(&d).Priority)
		}
		if !slices.Equal(got, []uint8{9, 5, 1}) {
			t.Errorf("got %v; want the highest first", got)
		}
	})
}

// The properties of AMQP are what other programs set and look at.
func TestProperties(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		queue, to := scratch(t, ch, nil)
		headers := brokers.Headers{{Key: "type", Value: []byte("OrderPlaced")}, {Key: "content-encoding", Value: []byte("gzip"), Kind: brokers.KindString}}
		_, err := publisher(t, b, brokers.PublisherConfig{}).Publish(t.Context(), to(brokers.Message{
			ID: "id", CorrelationID: "c", ReplyTo: "r", ContentType: "application/json", Headers: headers, Payload: []byte("p"),
		}))
		if err != nil {
			t.Fatal(err)
		}
		d := get(t, ch, queue)
		if d.MessageId != "id" || d.CorrelationId != "c" || d.ReplyTo != "r" || d.ContentType != "application/json" ||
			d.ContentEncoding != "gzip" || d.Type != "OrderPlaced" || d.DeliveryMode != amqp.Persistent || d.Timestamp.IsZero() {
			t.Errorf("got %+v", d)
		}
		if m := rabbitmq.FromDelivery(&d); !reflect.DeepEqual(m.Headers, headers) {
			t.Errorf("headers %v; want %v", m.Headers, headers)
		}
		dsn := config(t, url)
		err = ch.Publish("", queue, true, false, amqp.Publishing{ContentEncoding: "br", Type: "Foreign", AppId: "app", UserId: dsn.User})
		if err != nil {
			t.Fatal(err)
		}
		d = get(t, ch, queue)
		m := rabbitmq.FromDelivery(&d)
		if facts := m.Broker.(*rabbitmq.Delivery); m.Headers.Text("content-encoding") != "br" || m.Headers.Text("type") != "Foreign" || len(m.Headers) != 2 ||
			facts.AppID != "app" || facts.UserID != dsn.User {
			t.Errorf("got %+v, %+v", m, facts)
		}
	})
}

// Every type of AMQP arrives as a header of its kind, or as JSON.
func TestForeignHeaders(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		ch := admin(t, url)
		queue, _ := scratch(t, ch, nil)
		at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
		table := amqp.Table{
			"bool": true, "byte": int8(-1), "ubyte": uint8(200), "short": int16(-300), "ushort": uint16(60000), "int": int32(-70000), "uint": uint32(4e9), "long": int64(math.MinInt64),
			"float": float32(1.5), "double": math.Pi, "text": "naïve", "bytes": []byte{0, 255}, "time": at, "nil": nil,
			"decimal": amqp.Decimal{Scale: 2, Value: 314}, "array": []any{int32(1), "two"}, "table": amqp.Table{"k": "v"},
		}
		if err := ch.Publish("", queue, true, false, amqp.Publishing{Headers: table}); err != nil {
			t.Fatal(err)
		}
		d := get(t, ch, queue)
		var got []string
		for _, h := range rabbitmq.FromDelivery(&d).Headers {
			got = append(got, fmt.Sprintf("%s %d %q", h.Key, h.Kind, h.Value))
		}
		want := []string{
			fmt.Sprintf(`array %d "[1,\"two\"]"`, brokers.KindBytes), fmt.Sprintf(`bool %d "true"`, brokers.KindBool),
			fmt.Sprintf(`byte %d "-1"`, brokers.KindInt), fmt.Sprintf(`bytes %d "\x00\xff"`, brokers.KindBytes),
			fmt.Sprintf(`decimal %d "{\"Scale\":2,\"Value\":314}"`, brokers.KindBytes), fmt.Sprintf(`double %d "3.141592653589793"`, brokers.KindFloat),
			fmt.Sprintf(`float %d "1.5"`, brokers.KindFloat), fmt.Sprintf(`int %d "-70000"`, brokers.KindInt),
			fmt.Sprintf(`long %d "-9223372036854775808"`, brokers.KindInt), fmt.Sprintf(`nil %d ""`, brokers.KindBytes),
			fmt.Sprintf(`short %d "-300"`, brokers.KindInt), fmt.Sprintf(`table %d "{\"k\":\"v\"}"`, brokers.KindBytes),
			fmt.Sprintf(`text %d "naïve"`, brokers.KindString), fmt.Sprintf(`time %d "2026-05-06T07:08:09Z"`, brokers.KindTime),
			fmt.Sprintf(`ubyte %d "200"`, brokers.KindInt), fmt.Sprintf(`uint %d "4000000000"`, brokers.KindInt), fmt.Sprintf(`ushort %d "60000"`, brokers.KindInt),
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A header table that no frame takes is refused by itself, and closes nothing
// under those that publish beside it.
func TestLargeHeaderAmongOthers(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		b, ch := open(t, config(t, url)), admin(t, url)
		since := b.Health(t.Context()).Since
		_, to := scratch(t, ch, nil)
		shared := publisher(t, b, brokers.PublisherConfig{})
		var publishing sync.WaitGroup
		for i := range 50 {
			publishing.Go(func() {
				p := shared
				if i%2 == 0 {
					p = publisher(t, b, brokers.PublisherConfig{})
				}
				if _, err := p.Publish(t.Context(), to(brokers.Message{Key: fmt.Append(nil, i)})); err != nil {
					t.Error(err)
				}
			})
		}
		_, err := shared.Publish(t.Context(), to(brokers.Message{Headers: brokers.Headers{{Key: "h", Value: make([]byte, 140_000)}}}))
		var failed *brokers.PublishError
		if !errors.As(err, &failed) || failed.Failures[0].Outcome != brokers.Refused || !errors.Is(err, brokers.ErrTooLarge) ||
			!strings.Contains(err.Error(), "140001") || !strings.Contains(err.Error(), "98304") {
			t.Errorf("got %v; want it refused, with its size and the limit", err)
		}
		publishing.Wait()
		if h := b.Health(t.Context()); !h.Connected || h.Since != since {
			t.Errorf("a connection was lost: %+v", h)
		}
	})
}
