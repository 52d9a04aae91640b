package outbox_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

func someBytes(t *rapid.T, label string) []byte {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	return append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)...)
}

// What is stored is what comes back: all fields, none and empty apart, headers in
// their order.
func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string { return rapid.StringN(0, 20, -1).Draw(t, label) }
		m := brokers.Message{
			Topic: "t" + text("topic"), ID: "i" + text("id"), Key: someBytes(t, "key"), Payload: someBytes(t, "payload"),
			CorrelationID: text("correlation"), ReplyTo: text("reply"), ContentType: text("type"), RoutingKey: text("route"),
			TTL:       time.Duration(rapid.Int64Min(0).Draw(t, "ttl")),
			Priority:  rapid.Uint8Max(brokers.MaxPriority).Draw(t, "priority"),
			Partition: rapid.Int32().Draw(t, "partition"),
		}
		if rapid.Bool().Draw(t, "timed") {
			m.Time = time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanos")).UTC()
		}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			m.Headers = append(m.Headers, brokers.Header{
				Key: text("name"), Value: someBytes(t, "value"), Kind: brokers.Kind(rapid.Uint8Max(uint8(brokers.KindTime)).Draw(t, "kind")),
			})
		}
		data, err := outbox.Encode(&m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := outbox.Decode(data)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, m)
		}
	})
}

// Rows of former versions can still be published.
func TestDecodeOfFormerVersions(t *testing.T) {
	const row = `{"Topic":"orders","Key":"YW5u","ID":"7","Payload":"eA==","Headers":[{"Key":"type","Value":"UGxhY2Vk","Kind":1}],` +
		`"Time":"2026-11-30T12:00:00.5Z","CorrelationID":"c","ReplyTo":"r","ContentType":"x/y","TTL":1000,"Priority":3,"RoutingKey":"k","Partition":2}`
	want := brokers.Message{
		Topic: "orders", Key: []byte("ann"), ID: "7", Payload: []byte("x"), Headers: brokers.Headers{{Key: "type", Value: []byte("Placed"), Kind: brokers.KindString}},
		Time: time.Date(2026, 11, 30, 12, 0, 0, 5e8, time.UTC), CorrelationID: "c", ReplyTo: "r", ContentType: "x/y", TTL: 1000, Priority: 3,
		RoutingKey: "k", Partition: 2,
	}
	if got, err := outbox.Decode([]byte(row)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

// Whatever a row holds, it is a message or an error.
func TestDecodeOfAnything(t *testing.T) {
	for _, bad := range []string{"{", "\x0a\x05ab", "\x60", "\x60\xff\x7f", "\x07"} {
		if m, err := outbox.Decode([]byte(bad)); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%q is %+v, %v", bad, m, err)
		}
	}
	// A field of a later version is passed over.
	m, err := outbox.Decode([]byte("\x0a\x01t\xfa\x01\x01x"))
	if err != nil || m.Topic != "t" {
		t.Errorf("%+v, %v", m, err)
	}
	rapid.Check(t, func(t *rapid.T) {
		_, _ = outbox.Decode(rapid.SliceOf(rapid.Byte()).Draw(t, "row")) // it does not panic
	})
}

func TestEncodeRefuses(t *testing.T) {
	if _, err := outbox.Encode(&brokers.Message{Topic: "t"}); !errors.Is(err, outbox.ErrNoID) {
		t.Errorf("without an id: %v", err)
	}
	if _, err := outbox.Encode(&brokers.Message{ID: "1"}); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("without a topic: %v", err)
	}
}
