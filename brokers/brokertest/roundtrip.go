package brokertest

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// sameContent fails the test unless got has want's key, payload and headers,
// nil and empty apart.
func (e *env) sameContent(got, want *brokers.Message) {
	e.Helper()
	if !same(got.Key, want.Key) {
		e.Errorf("key: got %s; want %s", show(got.Key), show(want.Key))
	}
	if !same(got.Payload, want.Payload) {
		e.Errorf("payload: got %s; want %s", show(got.Payload), show(want.Payload))
	}
	if len(got.Headers) != len(want.Headers) {
		e.Errorf("headers: got %s; want %s", showHeaders(got.Headers), showHeaders(want.Headers))
		return
	}
	for i, h := range got.Headers {
		w := want.Headers[i]
		if h.Key != w.Key || h.Kind != w.Kind || !same(h.Value, w.Value) {
			e.Errorf("header %d: got %s; want %s", i, showHeaders(got.Headers[i:i+1]), showHeaders(want.Headers[i:i+1]))
		}
	}
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func show(b []byte) string {
	switch {
	case b == nil:
		return "nil"
	case len(b) > 64:
		return fmt.Sprintf("%q... (%d bytes)", b[:64], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func showHeaders(hs brokers.Headers) string {
	var b bytes.Buffer
	for _, h := range hs {
		fmt.Fprintf(&b, "{%q: %s, kind %d}", h.Key, show(h.Value), h.Kind)
	}
	return b.String()
}

// survives publishes messages to one partition and ends the test unless their
// content comes back as it was.
func (e *env) survives(msgs ...brokers.Message) []brokers.Message {
	e.Helper()
	group := e.group()
	name := e.topic(1, group)
	for i := range msgs {
		msgs[i].Topic = name
	}
	pub := e.publisher(e.broker, brokers.PublisherConfig{MaxMessageBytes: 4 << 20})
	for i := range msgs {
		// One by one: order is promised per key only.
		_, err := pub.Publish(e.within(), msgs[i])
		e.ok(err, "Publish")
	}
	got := e.fetch(e.accept(e.subscribe(e.broker, group, name)), len(msgs))
	for i := range got {
		e.sameContent(&got[i], &msgs[i])
		if got[i].Topic != name || got[i].Partition != 0 {
			e.Errorf("message %d is of topic %q, partition %d; want %q, 0", i, got[i].Topic, got[i].Partition, name)
		}
	}
	return got
}

func payloads(e *env) {
	large := bytes.Repeat([]byte("\x00\xff payload \r\n"), 1<<20/12+1)[:e.h.MaxMessageBytes]
	e.survives(
		brokers.Message{Key: []byte("nil")},
		brokers.Message{Key: []byte("empty"), Payload: []byte{}},
		brokers.Message{Key: []byte("one"), Payload: []byte{0}},
		brokers.Message{Key: []byte("binary"), Payload: []byte("\x00\xff\xfe\r\n\t ")},
		brokers.Message{Payload: large},
	)
}

func keys(e *env) {
	payload := []byte("p")
	e.survives(
		brokers.Message{Payload: payload},
		brokers.Message{Payload: payload, Key: []byte{}},
		brokers.Message{Payload: payload, Key: []byte{0}},
		brokers.Message{Payload: payload, Key: []byte(" edge. *>\r\n ")},
		brokers.Message{Payload: payload, Key: []byte("\xff\xfe\x00\xc3\x28")},
		brokers.Message{Payload: payload, Key: bytes.Repeat([]byte("k"), 1<<10)},
	)
}

func headers(e *env) {
	e.survives(
		brokers.Message{Key: []byte("none")},
		brokers.Message{Key: []byte("duplicates, in order"), Headers: brokers.Headers{
			{Key: "trace", Value: []byte("\x00\xff\xfe\n")},
			{Key: "other", Value: []byte("x")},
			{Key: "trace", Value: []byte("2")},
			{Key: "a", Value: []byte("after")},
		}},
		brokers.Message{Key: []byte("nil and empty"), Headers: brokers.Headers{
			{Key: "nil"}, {Key: "empty", Value: []byte{}},
		}},
		brokers.Message{Key: []byte("edges"), Headers: brokers.Headers{
			{Key: "spaces", Value: []byte("  v  ")}, {Key: "lines", Value: []byte("\r\nv\r\n")}, {Key: "quotes", Value: []byte(`"';:=,`)},
		}},
		brokers.Message{Key: []byte("keys"), Headers: brokers.Headers{
			{Key: "Upper-Case", Value: []byte("1")},
			{Key: "upper-case", Value: []byte("2")},
			{Key: "UPPER-CASE", Value: []byte("3")},
			{Key: "with space", Value: []byte("4")},
			{Key: "ключ", Value: []byte("5")},
		}},
		brokers.Message{Key: []byte("nil payload"), Headers: brokers.Headers{{Key: "h", Value: []byte("v")}}},
	)
}

// headerKinds checks that a kind survives with its value.
func headerKinds(e *env) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	e.survives(brokers.Message{Key: []byte("kinds"), Payload: []byte("p"), Headers: brokers.Headers{
		{Key: "bytes", Value: []byte{0, 1, 0xff}, Kind: brokers.KindBytes},
		{Key: "string", Value: []byte("zwölf"), Kind: brokers.KindString},
		{Key: "int", Value: strconv.AppendInt(nil, math.MinInt64, 10), Kind: brokers.KindInt},
		{Key: "float", Value: strconv.AppendFloat(nil, math.Pi, 'g', -1, 64), Kind: brokers.KindFloat},
		{Key: "true", Value: []byte("true"), Kind: brokers.KindBool},
		{Key: "false", Value: []byte("false"), Kind: brokers.KindBool},
		{Key: "time", Value: []byte(now.Format(time.RFC3339Nano)), Kind: brokers.KindTime},
		{Key: "empty string", Value: []byte{}, Kind: brokers.KindString},
	}})
}

// fields checks what else a message carries.
func fields(e *env) {
	sent := brokers.Message{
		ID: "id-1", Key: []byte("k"), Payload: []byte("p"),
		Time:          time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC),
		CorrelationID: "correlation-1", ReplyTo: "replies", ContentType: "application/json",
	}
	got := e.survives(sent)[0]
	for _, f := range []struct{ name, got, want string }{
		{"ID", got.ID, sent.ID},
		{"CorrelationID", got.CorrelationID, sent.CorrelationID},
		{"ReplyTo", got.ReplyTo, sent.ReplyTo},
		{"ContentType", got.ContentType, sent.ContentType},
	} {
		if f.got != f.want {
			e.Errorf("%s: got %q; want %q", f.name, f.got, f.want)
		}
	}
	if !got.Time.Equal(sent.Time) {
		e.Errorf("Time: got %v; want %v", got.Time, sent.Time)
	}
}

// A message that leaves its time to the broker gets one.
func fieldTimeDefault(e *env) {
	before := time.Now().Add(-time.Minute)
	got := e.survives(brokers.Message{Key: []byte("k"), Payload: []byte("p")})[0]
	if got.Time.Before(before) || got.Time.After(time.Now().Add(time.Minute)) {
		e.Errorf("Time: got %v; want about now", got.Time)
	}
}

func fieldPriority(e *env) {
	e.needs(e.features.Priority, "Features.Priority is false")
	got := e.survives(brokers.Message{Key: []byte("k"), Payload: []byte("p"), Priority: 7})[0]
	if got.Priority != 7 {
		e.Errorf("Priority: got %d; want 7", got.Priority)
	}
}

// A message whose TTL has passed is not delivered; one without is.
func fieldTTL(e *env) {
	e.needs(e.features.TTL, "Features.TTL is false")
	group := e.group()
	name := e.topic(1, group)
	msgs := numbered(name, 0, "k", 0, 2)
	msgs[0].TTL = time.Second
	msgs[1].TTL = time.Hour
	e.publish(msgs...)
	<-time.After(2500 * time.Millisecond)
	got := e.fetch(e.accept(e.subscribe(e.broker, group, name)), 1)
	e.wantNumbers(got, 1, 2)
	if got[0].TTL > 0 && got[0].TTL > time.Hour {
		e.Errorf("TTL: got %v; want at most 1h", got[0].TTL)
	}
}

// What is fetched says under which ownership.
func fieldsOfReceipt(e *env) {
	group := e.group()
	name := e.topic(2, group)
	for id := range int32(2) {
		e.publish(numbered(name, id, "k", 0, 2)...)
	}
	for id, p := range e.acceptAll(e.subscribe(e.broker, group, name), 2) {
		for _, m := range e.fetch(p, 2) {
			if m.Topic != name || m.Partition != id || m.Epoch != p.Epoch() {
				e.Errorf("message of %q/%d epoch %d came from partition %q/%d epoch %d", m.Topic, m.Partition, m.Epoch, name, id, p.Epoch())
			}
		}
	}
}

// Messages that leave their ID to the driver get one each, or none.
func fieldIDDefault(e *env) {
	ids := map[string]int{}
	for _, m := range e.survives(
		brokers.Message{Key: []byte("k"), Payload: []byte("1")},
		brokers.Message{Key: []byte("k"), Payload: []byte("2")},
		brokers.Message{Key: []byte("l"), Payload: []byte("3")},
	) {
		ids[m.ID]++
	}
	if ids[""] != 3 && len(ids) != 3 {
		e.Errorf("IDs and how often: %v; want three, or none at all", ids)
	}
}
