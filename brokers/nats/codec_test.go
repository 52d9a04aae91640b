package nats

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// carry does to a message what the client and the server do: they write its
// headers as lines, in any order of names, and read them again.
func carry(t interface{ Fatal(...any) }, m *nats.Msg, names []string) *nats.Msg {
	var b bytes.Buffer
	b.WriteString("NATS/1.0\r\n")
	for _, name := range names {
		for _, value := range m.Header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, strings.NewReplacer("\r", " ", "\n", " ").Replace(value))
		}
	}
	b.WriteString("\r\n")
	header, err := nats.DecodeHeadersMsg(b.Bytes())
	if err != nil {
		t.Fatal("headers that cannot be read: ", err)
	}
	return &nats.Msg{Header: header, Data: append([]byte{}, m.Data...)}
}

var (
	anyBytes = rapid.OneOf(
		rapid.Just([]byte(nil)),
		rapid.SliceOfN(rapid.Byte(), 0, 12),
		rapid.Map(rapid.StringN(0, 12, -1), func(s string) []byte { return []byte(s) }),
	)
	anyName = rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z-]{1,8}`),
		rapid.SampledFrom([]string{"Nats-Rollup", "troupe-key", "TROUPE-BIN", "nats-msg-id", "Content-Type", "Status", "a b", "", "x:y", "ключ", "traceparent"}),
		rapid.String(),
	)
)

func anyMessage(t *rapid.T) brokers.Message {
	m := brokers.Message{
		ID:            rapid.StringMatching(`[a-z0-9-]{0,12}`).Draw(t, "id"),
		Key:           anyBytes.Draw(t, "key"),
		Payload:       anyBytes.Draw(t, "payload"),
		CorrelationID: rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "correlation"),
		ReplyTo:       rapid.StringMatching(`[a-z.]{0,8}`).Draw(t, "replyTo"),
		ContentType:   rapid.SampledFrom([]string{"", "application/json"}).Draw(t, "contentType"),
		RoutingKey:    rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "routingKey"),
		Priority:      uint8(rapid.IntRange(0, 9).Draw(t, "priority")),
		TTL:           time.Duration(rapid.IntRange(0, 5000).Draw(t, "ttl")) * time.Second,
	}
	if rapid.Bool().Draw(t, "timed") {
		m.Time = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
	}
	for range rapid.IntRange(0, 6).Draw(t, "headers") {
		m.Headers = append(m.Headers, brokers.Header{
			Key: anyName.Draw(t, "name"), Value: anyBytes.Draw(t, "value"),
			Kind: brokers.Kind(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 5}).Draw(t, "kind")),
		})
	}
	return m
}

// Whatever a message holds comes back as it was, and nothing of a user's goes
// out under a name that the server obeys.
func TestCodec(t *testing.T) {
	e := newEncoder()
	rapid.Check(t, func(t *rapid.T) {
		m := anyMessage(t)
		out, err := e.encode(&m)
		if err != nil {
			t.Fatal(err)
		}
		for name := range out.Header {
			if hasPrefixFold(name, "nats-") && name != idHeader && name != ttlHeader {
				t.Fatalf("header %q goes out", name)
			}
		}
		names := rapid.Permutation(slices.Sorted(maps.Keys(out.Header))).Draw(t, "order on the wire")
		got := decode(carry(t, out, names), delivery{seq: 7, count: 2, time: 1e18}, "orders")
		sameMessage(t, &got, &m)
	})
}

func sameMessage(t *rapid.T, got, want *brokers.Message) {
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	if !same(got.Key, want.Key) || !same(got.Payload, want.Payload) {
		t.Fatalf("key %q, payload %q; want %q, %q", got.Key, got.Payload, want.Key, want.Payload)
	}
	if len(got.Headers) != len(want.Headers) {
		t.Fatalf("headers %q; want %q", got.Headers, want.Headers)
	}
	for i, h := range got.Headers {
		if w := want.Headers[i]; h.Key != w.Key || h.Kind != w.Kind || !same(h.Value, w.Value) {
			t.Fatalf("header %d: %q; want %q", i, h, w)
		}
	}
	id := want.ID
	if id == "" {
		id = "orders/7"
	}
	at := want.Time
	if at.IsZero() {
		at = time.Unix(0, 1e18)
	}
	switch {
	case got.ID != id, got.CorrelationID != want.CorrelationID, got.ReplyTo != want.ReplyTo,
		got.ContentType != want.ContentType, got.RoutingKey != want.RoutingKey, got.Priority != want.Priority,
		got.TTL != want.TTL, !got.Time.Equal(at), got.Offset != 7, got.DeliveryCount != 2:
		t.Fatalf("got %+v; want %+v", got, want)
	}
}

// Headers that somebody changed on the way win over what was packed.
func TestHeadersChangedOnTheWay(t *testing.T) {
	e := newEncoder()
	for _, c := range []struct {
		title  string
		sent   brokers.Headers
		change func(nats.Header)
		want   string
	}{
		{
			"Packed",
			brokers.Headers{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte(" edge ")}},
			func(h nats.Header) { h.Set("c", "new") }, "[b=1 c=new]",
		},
		{
			"Ordered",
			brokers.Headers{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
			func(h nats.Header) { h.Set("c", "new") }, "[a=2 b=1 c=new]",
		},
		{
			"BadOrder",
			brokers.Headers{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
			func(h nats.Header) { h.Set(orderHeader, "00") }, "[a=2 b=1]",
		},
		{
			"BadBin",
			brokers.Headers{{Key: "a", Value: nil}},
			func(h nats.Header) { h.Set(brokers.BinHeader, "!") }, "[a=]",
		},
	} {
		m := brokers.Message{Headers: c.sent, Payload: []byte("p")}
		out, err := e.encode(&m)
		if err != nil {
			t.Fatal(err)
		}
		c.change(out.Header)
		var got []string
		for _, h := range decode(out, delivery{}, "s").Headers {
			got = append(got, h.Key+"="+string(h.Value))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v; want %s", c.title, got, c.want)
		}
	}
}

func TestNotEncodable(t *testing.T) {
	e := newEncoder()
	for field, m := range map[string]brokers.Message{
		"ID":            {ID: "a\nb"},
		"CorrelationID": {CorrelationID: " a"},
		"ReplyTo":       {ReplyTo: "a\r"},
		"ContentType":   {ContentType: "\x00"},
		"RoutingKey":    {RoutingKey: "\xff"},
	} {
		if _, err := e.encode(&m); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v; want ErrInvalid that names it", field, err)
		}
	}
	large := brokers.Message{Headers: brokers.Headers{{Key: "h", Value: bytes.Repeat([]byte("x"), 64<<10)}}}
	if _, err := e.encode(&large); !errors.Is(err, brokers.ErrTooLarge) {
		t.Errorf("headers of 64 KiB: %v; want ErrTooLarge", err)
	}
}

// What other clients publish has no key, an id of its place, and its headers.
func TestForeignMessage(t *testing.T) {
	got := decode(&nats.Msg{
		Header: nats.Header{"Nats-Stream": {"x"}, "trace": {"1", "2"}, pinHeader: {"p"}, priorityHeader: {"high"}, ttlHeader: {"90"}},
	}, delivery{seq: 3, time: 5}, "orders")
	if got.Key != nil || got.ID != "orders/3" || got.Payload == nil || got.TTL != 90*time.Second || got.Priority != 0 {
		t.Errorf("got %+v", got)
	}
	if len(got.Headers) != 2 || string(got.Headers[0].Value) != "1" || string(got.Headers[1].Value) != "2" {
		t.Errorf("headers %q; want trace twice", got.Headers)
	}
}

func TestTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]string{
		time.Nanosecond: "1s", time.Second: "1s", 1500 * time.Millisecond: "2s", time.Hour: "3600s", 1<<63 - 1: "9223372037s",
	} {
		if got := ttlText(ttl); got != want {
			t.Errorf("TTL %v: %s; want %s", ttl, got, want)
		}
	}
	for text, want := range map[string]time.Duration{"1m": time.Minute, "never": 0, "-5s": 0, "-5": 0, "12": 12 * time.Second, "99999999999": 0} {
		if got := parseTTL(text); got != want {
			t.Errorf("TTL %q: %v; want %v", text, got, want)
		}
	}
}

func TestParseDelivery(t *testing.T) {
	want := delivery{count: 2, seq: 34, consumer: 5, time: 1234567890123456789, pending: 6}
	for reply, prefix := range map[string]string{
		"$JS.ACK.orders.g-p0.2.34.5.1234567890123456789.6":                 "$JS.ACK.orders.g-p0.",
		"$JS.ACK.hub.ACCHASH.orders.g-p0.2.34.5.1234567890123456789.6":     "$JS.ACK.hub.ACCHASH.orders.g-p0.",
		"$JS.ACK.hub.ACCHASH.orders.g-p0.2.34.5.1234567890123456789.6.tok": "$JS.ACK.hub.ACCHASH.orders.g-p0.",
	} {
		if got, ok := parseDelivery(reply); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", reply, got, ok, want)
		}
		if got := ackPrefix(reply); got != prefix {
			t.Errorf("%s: prefix %s; want %s", reply, got, prefix)
		}
	}
	for _, reply := range []string{"", "_INBOX.a.b", "$JS.ACK.a.b.1.2.3.4", "$JS.ACK.a.b.1.x.3.4.5", "$JS.ACK.a.b.1.2.3.4.5.6"} {
		if _, ok := parseDelivery(reply); ok {
			t.Errorf("%q passes for a delivery", reply)
		}
	}
}

// A token of digits is the number that strconv reads in it, and others are none.
func TestNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.OneOf(rapid.StringMatching(`[0-9]{0,21}|1844674407370955161[0-9]`), rapid.StringMatching(`[-+_ 0-9a-f]{0,5}`)).Draw(t, "digits")
		rest := rapid.SampledFrom([]string{"", ".", ".7.x"}).Draw(t, "rest")
		want, err := strconv.ParseUint(digits, 10, 64)
		n, left, ok := number(digits + rest)
		if ok != (err == nil) || ok && (n != want || left != strings.TrimPrefix(rest, ".")) {
			t.Fatalf("%q: %d, %q, %v; want %d, %v", digits+rest, n, left, ok, want, err)
		}
	})
}

func TestParseConfirmation(t *testing.T) {
	for data, want := range map[string]confirmation{
		`{"stream":"orders", "seq":17}`:                                 {seq: 17},
		`{"stream":"orders","seq":17,"duplicate": true}`:                {seq: 17, duplicate: true},
		`{"stream":"orders","domain":"hub","seq":9,"duplicate":true}`:   {seq: 9, duplicate: true},
		`{"stream":"orders","seq":3,"domain":"hub"}`:                    {seq: 3},
		`{ "seq": 5, "stream": "orders" }`:                              {seq: 5},
		`{"stream":"a \"seq\":1 b","seq":6}`:                            {seq: 6},
		`{"stream":"orders","seq":7,"duplicate":false,"batch":"b"}`:     {seq: 7},
		`{"type":"io.nats.jetstream.api.v1","stream":"orders","seq":8}`: {seq: 8},
	} {
		if got, err := parseConfirmation(&nats.Msg{Data: []byte(data)}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", data, got, err, want)
		}
	}
	for data, want := range map[string]struct {
		outcome brokers.Outcome
		is      error
	}{
		"": {brokers.NotSent, nil},
		`{"error":{"code":400,"err_code":10054,"description":"too large"}}`:                          {brokers.Refused, brokers.ErrTooLarge},
		`{"error":{"code":400,"err_code":10166,"description":"no TTL"}}`:                             {brokers.Refused, brokers.ErrInvalid},
		`{"error":{"code":503,"err_code":10077,"description":"full"}}`:                               {brokers.NotSent, nil},
		`{"error":{"code":409,"err_code":10158,"description":"in process"}}`:                         {brokers.Unknown, nil},
		`{"error":{"code":429,"err_code":10167,"description":"too many"},"stream":"orders","seq":0}`: {brokers.NotSent, nil},
		`{"stream":"orders","seq":0,"duplicate": true}`:                                              {brokers.Unknown, nil},
		`{"stream":"orders"}`:                            {brokers.Unknown, nil},
		`{"stream":"orders","seq":99999999999999999999}`: {brokers.Unknown, nil},
		`hello`: {brokers.Unknown, nil},
	} {
		_, err := parseConfirmation(&nats.Msg{Data: []byte(data)})
		var failed *brokers.SendError
		if !errors.As(err, &failed) || failed.Outcome != want.outcome || want.is != nil && !errors.Is(err, want.is) {
			t.Errorf("%q: %v; want outcome %q, %v", data, err, want.outcome, want.is)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$JS.ACK.orders.g-p0.2.34.5.1234567890123456789.6", `{"stream":"orders", "seq":17}`)
	f.Fuzz(func(_ *testing.T, reply, data string) {
		if _, ok := parseDelivery(reply); ok {
			_ = ackPrefix(reply)
		}
		_, _ = parseConfirmation(&nats.Msg{Data: []byte(data)})
	})
}
