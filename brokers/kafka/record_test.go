package kafka

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// nullable is bytes, or none.
func nullable(t *rapid.T, label string) []byte {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)
}

func anyMessage(t *rapid.T) brokers.Message {
	m := brokers.Message{
		ID: rapid.String().Draw(t, "id"), Key: nullable(t, "key"), Payload: nullable(t, "payload"),
		CorrelationID: rapid.String().Draw(t, "correlation"), ReplyTo: rapid.String().Draw(t, "reply to"),
		ContentType: rapid.SampledFrom([]string{"", "text/plain", "ü"}).Draw(t, "content type"),
	}
	for range rapid.IntRange(0, 5).Draw(t, "headers") {
		m.Headers = append(m.Headers, brokers.Header{
			Key:   rapid.SampledFrom([]string{"", "a", "b", "content-type", "troupe-id", "troupe-bin", "troupe-x", "ключ"}).Draw(t, "name"),
			Value: nullable(t, "value"),
			Kind:  brokers.Kind(rapid.IntRange(0, int(brokers.KindTime)).Draw(t, "kind")),
		})
	}
	return m
}

// A message survives being a record, whatever is in it.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMessage(t)
		delta, offset := rapid.Int64().Draw(t, "time"), rapid.IntRange(0, 1<<30).Draw(t, "offset")
		var headers recordHeaders
		b := appendRecord([]byte{}, &m, headers.collect(&m), offset, delta)
		if len(b) > batchSize(&m) && !slicesContainBin(headers.all) {
			t.Fatalf("a record of %d bytes, estimated at %d", len(b), batchSize(&m))
		}
		var got brokers.Message
		d, rest, err := readRecord(append(b, "rest"...), &got)
		if err != nil || string(rest) != "rest" || d != (decodedRecord{int64(offset), delta}) {
			t.Fatalf("got %+v, rest %q, %v", d, rest, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got %+v\nwant %+v", got, m)
		}
	})
}

func slicesContainBin(headers []brokers.Header) bool {
	_, ok := brokers.Headers(headers).Get(brokers.BinHeader)
	return ok
}

// What is no record is an error, and never a panic.
func TestReadRecordOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMessage(t)
		var headers recordHeaders
		b := appendRecord(nil, &m, headers.collect(&m), 1, 2)
		if rapid.Bool().Draw(t, "cut") {
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "length")]
		} else {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
		}
		var got brokers.Message
		_, rest, err := readRecord(b, &got)
		if err == nil && len(rest) >= len(b) {
			t.Fatal("nothing was read")
		}
	})
}

func TestReadRecordWithoutHeaders(t *testing.T) {
	// From another client: key, value, one header, and a troupe-bin that is none.
	m := brokers.Message{Key: []byte("k"), Payload: []byte("v")}
	b := appendRecord(nil, &m, []brokers.Header{{Key: brokers.BinHeader, Value: []byte("?")}, {Key: "h"}, {Key: "content-type", Value: []byte("t")}}, 0, 0)
	var got brokers.Message
	if _, _, err := readRecord(b, &got); err != nil {
		t.Fatal(err)
	}
	want := brokers.Message{Key: m.Key, Payload: m.Payload, ContentType: "t", Headers: brokers.Headers{{Key: "h"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestTimestamp(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	if got := timestamp(&brokers.Message{}, now); got != 1_700_000_000_123 {
		t.Errorf("without a time: %d", got)
	}
	if got := timestamp(&brokers.Message{Time: time.Unix(1, 999_999)}, now); got != 1000 {
		t.Errorf("of 1 s and 0.999999 ms: %d; want 1000", got)
	}
}
