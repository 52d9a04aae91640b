package memory

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// TestRecordsRoundTrip stores any messages and reads them as they were.
func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(anyMessage), 1, 5).Draw(t, "messages")
		l := newLog(&topic{name: "t", server: &Server{}}, 3)
		for i := range want {
			raw := appendRecord(nil, &want[i], time.Unix(7, 0))
			if bound := recordBound(&want[i]); len(raw) > bound {
				t.Fatalf("record of %d bytes, bound %d", len(raw), bound)
			}
			if size := recordSize(raw); size != want[i].Size() {
				t.Fatalf("size %d, want %d", size, want[i].Size())
			}
			l.append([]*brokers.Message{&want[i]}, time.Unix(7, 0))
		}
		all := handOut(l.snapshot(), 9)
		if len(all) != len(want) {
			t.Fatalf("%d messages, want %d", len(all), len(want))
		}
		for i, got := range all {
			w := want[i]
			w.Topic, w.Partition, w.Offset, w.Epoch = "t", 3, int64(i), 9
			if !got.Time.Equal(w.Time) {
				t.Fatalf("time %v, want %v", got.Time, w.Time)
			}
			got.Time = w.Time
			if !reflect.DeepEqual(got, w) {
				t.Fatalf("got %+v, want %+v", got, w)
			}
		}
	})
}

func anyMessage(t *rapid.T) brokers.Message {
	bytes := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 200))
	text := rapid.StringN(0, 10, 40)
	m := brokers.Message{
		ID: text.Draw(t, "id"), Key: bytes.Draw(t, "key"), Payload: bytes.Draw(t, "payload"),
		CorrelationID: text.Draw(t, "correlation"), ReplyTo: text.Draw(t, "reply to"),
		ContentType: text.Draw(t, "content type"), RoutingKey: text.Draw(t, "routing key"),
		Time:     time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")),
		TTL:      time.Duration(rapid.Int64().Draw(t, "ttl")),
		Priority: rapid.Byte().Draw(t, "priority"),
	}
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		m.Headers = append(m.Headers, brokers.Header{
			Key: text.Draw(t, "header"), Value: bytes.Draw(t, "value"), Kind: brokers.Kind(rapid.IntRange(0, 5).Draw(t, "kind")),
		})
	}
	return m
}
