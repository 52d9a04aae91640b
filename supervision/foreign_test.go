package supervision_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// facts are a broker's own of a message.
type facts struct {
	died brokers.Died
	is   bool
}

func (f facts) Died() (brokers.Died, bool) { return f.died, f.is }

var died = brokers.Died{
	Queue: "eu", Reason: "rejected", Topic: "orders", RoutingKey: "eu.new", Count: 3,
	First: time.Unix(1000, 0), Last: time.Unix(2000, 0),
}

// What the broker has dead-lettered can be read, replayed, and dead-lettered
// again, as what died here.
func TestDiedAtBroker(t *testing.T) {
	m := brokers.Message{
		Topic: "dead", RoutingKey: "eu", Partition: 2, Offset: 7, Epoch: 1, DeliveryCount: 1, ID: "id~replay-1", Key: []byte("k"), Payload: []byte("p"),
		Headers: brokers.Headers{{Key: "h", Value: []byte("v")}}, Broker: facts{died, true},
	}
	original, l, err := supervision.Decode(&m)
	want := brokers.Message{
		Topic: "orders", RoutingKey: "eu.new", ID: m.ID, Key: m.Key, Payload: m.Payload, Headers: m.Headers,
	}
	if err != nil || !reflect.DeepEqual(original, want) {
		t.Errorf("got %+v, %v; want %+v", original, err, want)
	}
	wantLetter := supervision.Letter{
		Reason: "rejected", Group: "eu", Attempts: 3, FirstFailure: died.First, LastFailure: died.Last, Replays: 1,
	}
	if l != wantLetter {
		t.Errorf("got %+v; want %+v", l, wantLetter)
	}
	replayed, err := supervision.Replay(&m)
	if err != nil || replayed.Topic != "orders" || replayed.RoutingKey != "eu.new" || replayed.ID != "id~replay-2" {
		t.Errorf("replayed %+v, %v", replayed, err)
	}

	again := supervision.Encode(&m, supervision.Letter{Reason: "no stock", Group: "dead", LastFailure: time.Unix(3000, 0)}, "dead.again")
	again.Broker = facts{} // it did not die at the broker this time
	original, l, err = supervision.Decode(&again)
	if err != nil || original.Topic != "orders" || original.RoutingKey != "eu.new" || l.Reason != "no stock" || len(original.Headers) != 1 {
		t.Errorf("dead-lettered again: %+v, %+v, %v", original, l, err)
	}
}

// So can what Spring AMQP's recoverer has republished.
func TestDeadLetterOfSpring(t *testing.T) {
	text := func(key, value string) brokers.Header {
		return brokers.Header{Key: key, Value: []byte(value), Kind: brokers.KindString}
	}
	m := brokers.Message{Topic: "dead", Headers: brokers.Headers{
		text("h", "v"), text("x-exception-message", "no stock"), text("x-exception-stacktrace", "at Order.java"),
		text("x-original-exchange", "orders"), text("x-original-routingKey", "eu.new"),
	}}
	original, l, err := supervision.Decode(&m)
	if err != nil || original.Topic != "orders" || original.RoutingKey != "eu.new" || !reflect.DeepEqual(original.Headers, m.Headers[:1]) ||
		l.ErrorMessage != "no stock" || l.Stack != "at Order.java" || l.Reason == "" {
		t.Errorf("got %+v, %+v, %v", original, l, err)
	}
	if len(m.Headers) != 5 {
		t.Errorf("the letter itself was changed: %v", m.Headers)
	}
	m.Broker = facts{died, true} // it expired in a queue in between
	if _, l, err = supervision.Decode(&m); err != nil || l.Reason != "rejected" || l.ErrorMessage != "no stock" {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestNeverDied(t *testing.T) {
	for _, broker := range []any{nil, 7, facts{}} {
		if _, _, err := supervision.Decode(&brokers.Message{Broker: broker}); !errors.Is(err, supervision.ErrNotDeadLetter) {
			t.Errorf("%v: %v; want ErrNotDeadLetter", broker, err)
		}
	}
}
