package rabbitmq

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// Delivery is what Message.Broker holds: where a message came from, as the server
// says.
type Delivery struct {
	// Exchange and RoutingKey are those it was published with, or dead-lettered.
	Exchange, RoutingKey string
	// AppID and UserID are the properties that the publisher has set; the server has
	// checked the latter.
	AppID, UserID string
	// Redelivered says that it may have been delivered before.
	Redelivered bool
	// Deaths is how often, where and why it was dead-lettered, the last one first.
	Deaths []Death
}

// Death is an entry of x-death: that a message left a queue for one reason.
type Death struct {
	// Queue it left, and why: "rejected", "expired", "maxlen" or "delivery_limit".
	Queue, Reason string
	// Exchange and RoutingKeys are those it had come with.
	Exchange    string
	RoutingKeys []string
	// Count is how often that happened, Time when it first did.
	Count int64
	Time  time.Time
}

var _ brokers.DeadLettered = (*Delivery)(nil)

// Died implements [brokers.DeadLettered], by Deaths.
func (d *Delivery) Died() (brokers.Died, bool) {
	if len(d.Deaths) == 0 {
		return brokers.Died{}, false
	}
	last, first := &d.Deaths[0], &d.Deaths[len(d.Deaths)-1]
	died := brokers.Died{
		Queue: last.Queue, Reason: last.Reason, Topic: cmp.Or(first.Exchange, DefaultExchange),
		Count: int(last.Count), First: first.Time, Last: last.Time,
	}
	if len(first.RoutingKeys) > 0 {
		died.RoutingKey = first.RoutingKeys[0]
	}
	return died, true
}

// FromDelivery turns what the server delivered, or what another client received,
// into a message. Topic, Partition and Epoch the caller fills in. It shares no
// memory with d but for the body.
func FromDelivery(d *amqp.Delivery) brokers.Message {
	m := brokers.Message{
		ID: d.MessageId, Payload: d.Body, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo,
		ContentType: d.ContentType, Priority: d.Priority, RoutingKey: d.RoutingKey,
		Time: d.Timestamp, Offset: int64(d.DeliveryTag), DeliveryCount: 1,
	}
	if strings.HasPrefix(m.ID, generatedID) {
		m.ID = ""
	}
	if m.Payload == nil {
		m.Payload = []byte{}
	}
	if d.Redelivered {
		m.DeliveryCount = 0 // a classic queue does not count; a quorum queue says below
	}
	if ms, err := strconv.ParseUint(d.Expiration, 10, 32); err == nil {
		m.TTL = time.Duration(ms) * time.Millisecond
	}
	facts := &Delivery{
		Exchange: d.Exchange, RoutingKey: d.RoutingKey, Redelivered: d.Redelivered, AppID: d.AppId, UserID: d.UserId,
	}
	m.Broker = facts
	text := ""
	for name, v := range d.Headers {
		switch {
		case name == brokers.BinHeader:
			text, _ = v.(string)
		case !reserved(name):
			m.Headers = append(m.Headers, fromValue(name, v))
		default:
			setField(&m, facts, name, v)
		}
	}
	sortByName(m.Headers)
	if text != "" {
		unpack(&m, text)
	}
	addProperties(&m, d)
	return m
}

// addProperties lists the properties that other programs set among the headers.
func addProperties(m *brokers.Message, d *amqp.Delivery) {
	for _, p := range [...]struct{ name, value string }{{encodingHeader, d.ContentEncoding}, {typeHeader, d.Type}} {
		if _, is := d.Headers[p.name]; !is && p.value != "" {
			m.Headers = append(m.Headers, brokers.Header{Key: p.name, Value: []byte(p.value), Kind: brokers.KindString})
		}
	}
}

// unpack restores what AMQP could not carry. Text that does not fit the native
// headers, since those were changed on the way, is passed over.
func unpack(m *brokers.Message, text string) {
	restored := *m
	if ok, err := brokers.DecodeBin(text, m.Headers, &restored); ok && err == nil {
		*m = restored
	}
}

// setField sets what a header of the driver or the server carries.
func setField(m *brokers.Message, facts *Delivery, name string, v any) {
	switch name {
	case keyHeader:
		if key, ok := v.([]byte); ok {
			m.Key = slices.Clone(key)
			if m.Key == nil {
				m.Key = []byte{}
			}
		}
	case nilHeader:
		if len(m.Payload) == 0 {
			m.Payload = nil
		}
	case timeHeader:
		text, _ := v.(string)
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			m.Time = t
		}
	case "x-delivery-count":
		if n, ok := v.(int64); ok {
			m.DeliveryCount = int(n) + 1
		}
	case "x-death":
		facts.Deaths = deaths(v)
	}
}

// deaths reads x-death. What another program put there in its place is nothing.
func deaths(v any) []Death {
	entries, _ := v.([]any)
	var list []Death
	for _, entry := range entries {
		t, ok := entry.(amqp.Table)
		if !ok {
			continue
		}
		var d Death
		d.Queue, _ = t["queue"].(string)
		d.Reason, _ = t["reason"].(string)
		d.Exchange, _ = t["exchange"].(string)
		d.Count, _ = t["count"].(int64)
		d.Time, _ = t["time"].(time.Time)
		keys, _ := t["routing-keys"].([]any)
		for _, key := range keys {
			if text, ok := key.(string); ok {
				d.RoutingKeys = append(d.RoutingKeys, text)
			}
		}
		list = append(list, d)
	}
	return list
}
