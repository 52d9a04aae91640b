package nats

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// What each message passes through allocates what is handed on, and no more.
func TestAllocations(t *testing.T) {
	msg := &nats.Msg{Subject: "orders.new", Reply: "_INBOX.abc.1~rs", Data: []byte("x")}
	keyed := brokers.Message{
		Topic: "orders.new", Key: []byte("ann"), Payload: []byte("x"),
		Headers: brokers.Headers{{Key: "type", Value: []byte("OrderPlaced")}, {Key: "version", Value: []byte("2")}},
	}
	l, e := Listener{b: &Broker{}, cfg: CoreSubscription{Handle: func(*brokers.Message) {}}}, newEncoder()
	for _, c := range []struct {
		name string
		most float64
		f    func()
	}{
		{"a message to a listener", 0, func() { l.receive(msg) }},
		{"a request opened", 0, func() { openRequest(msg) }},
		{"a key and headers encoded", 1, func() { _, _ = e.encode(&keyed) }}, // their text
	} {
		if n := testing.AllocsPerRun(100, c.f); n > c.most {
			t.Errorf("%s: %v allocations, not %v", c.name, n, c.most)
		}
	}
}
