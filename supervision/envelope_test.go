package supervision_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// drawBytes tells nil from empty, and is not always text.
func drawBytes(t *rapid.T, label string) []byte {
	return rapid.OneOf(
		rapid.Just([]byte(nil)),
		rapid.Just([]byte{}),
		rapid.SliceOf(rapid.Byte()),
	).Draw(t, label)
}

// drawHeaders has duplicates, and names that an envelope uses too.
func drawHeaders(t *rapid.T) brokers.Headers {
	keys := []string{
		"trace", "trace", "flag", "", "x-death", "x-exception-message", "kafka_dlt-original-topic",
		"kafka_dlt-exception-message", "troupe-dl-reason", "troupe-dl-topic", "troupe-dl-id",
	}
	var h brokers.Headers
	for range rapid.IntRange(0, 8).Draw(t, "headers") {
		h = append(h, brokers.Header{
			Key:   rapid.SampledFrom(keys).Draw(t, "header"),
			Value: drawBytes(t, "value"),
			Kind:  brokers.Kind(rapid.Uint8Max(uint8(brokers.KindTime)).Draw(t, "kind")),
		})
	}
	if rapid.Bool().Draw(t, "half an envelope") {
		h = append(h, brokers.Header{Key: "troupe-dl-headers", Value: []byte("?")})
	}
	return h
}

func drawText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", "a\nb\r\n\tc", `c:\new`, "\xff\xfe", " padded ", "x~replay-2", "x~replay-02"}),
	).Draw(t, label)
}

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" is zero") {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, label), rapid.Int64Range(0, 1e9-1).Draw(t, label)).UTC()
}

// drawMessage draws a message as a broker may hand it out.
func drawMessage(t *rapid.T) brokers.Message {
	return brokers.Message{
		ID:            drawText(t, "id"),
		Topic:         drawText(t, "topic"),
		Key:           drawBytes(t, "key"),
		Payload:       drawBytes(t, "payload"),
		Headers:       drawHeaders(t),
		Time:          drawTime(t, "time"),
		CorrelationID: drawText(t, "correlation id"),
		ReplyTo:       drawText(t, "reply to"),
		ContentType:   drawText(t, "content type"),
		TTL:           time.Duration(rapid.Int64().Draw(t, "ttl")),
		Priority:      rapid.Uint8().Draw(t, "priority"),
		RoutingKey:    drawText(t, "routing key"),
		Partition:     rapid.Int32().Draw(t, "partition"),
		Offset:        rapid.Int64().Draw(t, "offset"),
	}
}

func drawLetter(t *rapid.T) supervision.Letter {
	return supervision.Letter{
		Reason:       drawText(t, "reason"),
		ErrorType:    drawText(t, "error type"),
		ErrorMessage: strings.Repeat(drawText(t, "error message"), rapid.IntRange(1, 2000).Draw(t, "repeated")),
		Stack:        strings.Repeat(drawText(t, "stack"), rapid.IntRange(1, 2000).Draw(t, "repeated")),
		Attempts:     rapid.IntMin(0).Draw(t, "attempts"),
		Deliveries:   rapid.IntMin(0).Draw(t, "deliveries"),
		FirstFailure: drawTime(t, "first failure"),
		LastFailure:  drawTime(t, "last failure"),
		Group:        drawText(t, "group"),
		Actor:        drawText(t, "actor"),
		Handler:      drawText(t, "handler"),
		Host:         drawText(t, "host"),
		Broker:       rapid.SampledFrom([]string{"", "kafka", "rabbitmq", "nats"}).Draw(t, "broker"),
	}
}

func headerSize(m brokers.Message) int { return (&brokers.Message{Headers: m.Headers}).Size() }

// sameMessage compares all but an absent list of headers with an empty one.
func sameMessage(a, b brokers.Message) bool {
	if len(a.Headers) == 0 && len(b.Headers) == 0 {
		a.Headers, b.Headers = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func TestDecodeUndoesEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, l := drawMessage(t), drawLetter(t)
		before := m.Clone()

		dead := supervision.Encode(&m, l, "dead")
		if !sameMessage(m, before) {
			t.Fatalf("Encode changed its message from\n%+v to\n%+v", before, m)
		}
		if dead.Topic != "dead" || dead.TTL != 0 || dead.ReplyTo != "" || dead.Priority != 0 || dead.RoutingKey != "" {
			t.Fatalf("acts on the dead letter: %+v", dead)
		}
		if !dead.Time.Equal(l.LastFailure) {
			t.Fatalf("time %v, want %v", dead.Time, l.LastFailure)
		}

		if added := headerSize(dead) - headerSize(m); added > supervision.MaxEnvelope {
			t.Fatalf("the envelope has %d bytes", added)
		}

		original, letter, err := supervision.Decode(&dead)
		if err != nil {
			t.Fatal(err)
		}
		if !sameMessage(original, before) {
			t.Fatalf("got\n%+v, want\n%+v", original, before)
		}
		if letter.Attempts != l.Attempts || letter.Deliveries != l.Deliveries || letter.Broker != l.Broker ||
			!letter.FirstFailure.Equal(l.FirstFailure) || !letter.LastFailure.Equal(l.LastFailure) {
			t.Fatalf("letter\n%+v, want\n%+v", letter, l)
		}

		again := supervision.Encode(&original, letter, "dead")
		if !reflect.DeepEqual(again.Headers, dead.Headers) {
			t.Fatalf("the second envelope is\n%q, the first\n%q", again.Headers, dead.Headers)
		}
	})
}

// The names and forms of the headers are a contract: tools read them, and dead
// letters outlive the version that wrote them.
func TestEnvelopeOnTheWire(t *testing.T) {
	m := brokers.Message{
		ID: "m-1~replay-2", Topic: "orders", Key: []byte("c\n17"), Payload: []byte("body"), Time: start,
		Headers:       brokers.Headers{{Key: "trace", Value: []byte("1")}},
		CorrelationID: "c", ReplyTo: "answers", ContentType: "text/plain", TTL: 90 * time.Second,
		Priority: 4, RoutingKey: "p3", Partition: 3, Offset: 7,
	}
	l := supervision.Letter{
		Reason: "permanent", ErrorType: "*db.Error", ErrorMessage: "two\nlines", Stack: `at c:\new`,
		Attempts: 1, Deliveries: 2, FirstFailure: start, LastFailure: start.Add(time.Millisecond),
		Group: "billing", Actor: "account", Handler: "OrderPlaced", Host: "h1", Broker: "rabbitmq",
	}
	dead := supervision.Encode(&m, l, "dead")
	var got strings.Builder
	for _, h := range dead.Headers {
		fmt.Fprintf(&got, "%d %s=%s\n", h.Kind, h.Key, h.Value)
	}
	want := `0 trace=1
2 troupe-dl-headers=1
1 troupe-dl-reason=permanent
1 troupe-dl-error-type=*db.Error
1 troupe-dl-error-message=two\nlines
2 troupe-dl-attempts=1
2 troupe-dl-deliveries=2
5 troupe-dl-first-failure=2026-01-02T03:04:05.000000000Z
5 troupe-dl-last-failure=2026-01-02T03:04:05.001000000Z
1 troupe-dl-group=billing
1 troupe-dl-actor=account
1 troupe-dl-handler=OrderPlaced
1 troupe-dl-host=h1
1 troupe-dl-broker=rabbitmq
1 troupe-dl-stack=at c:\\new
1 troupe-dl-topic=orders
2 troupe-dl-partition=3
2 troupe-dl-offset=7
1 troupe-dl-id=m-1
2 troupe-dl-replays=2
5 troupe-dl-time=2026-01-02T03:04:05.000000000Z
1 troupe-dl-reply-to=answers
1 troupe-dl-routing-key=p3
1 troupe-dl-ttl=1m30s
2 troupe-dl-priority=4
1 troupe-dl-key=c\n17
1 x-exception-message=two
lines
1 x-exception-stacktrace=at c:\new
1 x-original-exchange=orders
1 x-original-routingKey=p3
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	dead.Headers = nil
	if want := (brokers.Message{
		ID: "dlq:a96808c4420189e1707250cff31779fc", Topic: "dead", Key: []byte("c\n17"), Payload: []byte("body"),
		Time: l.LastFailure, CorrelationID: "c", ContentType: "text/plain",
	}); !sameMessage(dead, want) {
		t.Errorf("got\n%+v, want\n%+v", dead, want)
	}
}

// The texts of a letter survive, but for what is no text and space at the ends.
func TestLetterTextsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawText(t, "text")
		m := brokers.Message{Topic: "orders"}
		dead := supervision.Encode(&m, supervision.Letter{ErrorMessage: want, Host: want}, "dead")
		_, l, err := supervision.Decode(&dead)
		if err != nil {
			t.Fatal(err)
		}
		want = strings.TrimSpace(strings.ToValidUTF8(want, "\uFFFD"))
		if l.ErrorMessage != want || len(want) < 100 && l.Host != want {
			t.Fatalf("got %q and %q, want %q", l.ErrorMessage, l.Host, want)
		}
	})
}

// The envelope of a dead letter is replaced, not wrapped, when a tool publishes
// it again as it is, or when reading the dead-letter topic fails.
func TestEncodeReplacesAnEnvelope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, first, second := drawMessage(t), drawLetter(t), drawLetter(t)
		dead := supervision.Encode(&m, first, "dead")
		dead.Partition, dead.Offset = 5, 99
		deader := supervision.Encode(&dead, second, "deader")

		direct := supervision.Encode(&m, second, "deader")
		if !reflect.DeepEqual(deader.Headers, direct.Headers) {
			t.Fatalf("got\n%q, want\n%q", deader.Headers, direct.Headers)
		}
		if dead.ID != "" && deader.ID == dead.ID {
			t.Fatalf("the dead letter of a dead letter has its id, %q", dead.ID)
		}
	})
}

func TestEnvelopeIsBounded(t *testing.T) {
	texts := map[string]string{
		"long":            strings.Repeat("order 4711 has no customer. ", 200_000/28),
		"not ASCII":       strings.Repeat("Bestellung für Ågot: 注文がありません。", 5_000),
		"all escaped":     strings.Repeat("\n\\", 100_000),
		"not text at all": strings.Repeat("\xff\xfe", 100_000),
		"all space":       strings.Repeat(" \n", 100_000),
	}
	for name, text := range texts {
		for _, broker := range []string{"kafka", "rabbitmq", "nats"} {
			t.Run(name+" on "+broker, func(t *testing.T) {
				m := brokers.Message{ID: "m-1", Topic: "orders", Key: []byte(text), Headers: brokers.Headers{{Key: "h", Value: []byte("v")}}}
				l := supervision.Letter{
					Reason: text, ErrorType: text, ErrorMessage: text, Stack: text,
					Group: text, Actor: text, Handler: text, Host: text, Broker: broker,
				}
				dead := supervision.Encode(&m, l, "dead")
				if got := headerSize(dead) - 2; got > supervision.MaxEnvelope {
					t.Errorf("%d bytes of headers", got)
				}
				for _, h := range dead.Headers {
					if len(h.Value) > supervision.MaxStack {
						t.Errorf("%s has %d bytes", h.Key, len(h.Value))
					}
					if h.Kind == brokers.KindString && !utf8.Valid(h.Value) {
						t.Errorf("%s is not valid UTF-8", h.Key)
					}
				}
				if got := headerSize(supervision.Encode(&m, l.Brief(), "dead")); got > 3<<10 {
					t.Errorf("a brief letter has %d bytes", got)
				}
			})
		}
	}
}

// Long fields of the original stay whole: the letter gives way.
func TestTheLongestTextGivesWay(t *testing.T) {
	m := brokers.Message{ID: strings.Repeat("i", 26<<10), Topic: "orders"}
	l := supervision.Letter{
		Stack: strings.Repeat("s", 8<<10), ErrorMessage: strings.Repeat("e", 3<<10), Reason: "permanent",
	}
	dead := supervision.Encode(&m, l, "dead")
	if got := headerSize(dead); got > supervision.MaxEnvelope {
		t.Errorf("%d bytes of headers", got)
	}
	original, letter, err := supervision.Decode(&dead)
	if err != nil || original.ID != m.ID {
		t.Fatalf("id of %d bytes, error %v", len(original.ID), err)
	}
	if len(letter.Stack) >= 3<<10 || letter.ErrorMessage != l.ErrorMessage || letter.Reason != l.Reason {
		t.Errorf("stack %d bytes, error %d bytes, reason %q", len(letter.Stack), len(letter.ErrorMessage), letter.Reason)
	}

	m.ID = strings.Repeat("i", 40<<10)
	dead = supervision.Encode(&m, l, "dead")
	if original, letter, err = supervision.Decode(&dead); err != nil || original.ID != m.ID || letter.Stack != "" {
		t.Errorf("id of %d bytes, stack %q, error %v", len(original.ID), letter.Stack, err)
	}
}

// A Kafka topic with a tombstone that nobody can handle: five rounds of dead
// letter and replay leave it as it was, and the envelope as large as it was.
func TestRoundsOfReplayDoNotGrow(t *testing.T) {
	first := brokers.Message{
		ID: "orders/0/0", Topic: "orders", Key: []byte("c-17"), Time: start,
		Headers: brokers.Headers{
			{Key: "trace", Value: []byte{0x00, 0xff, 0xfe, 0x0a}},
			{Key: "trace", Value: []byte("2")},
			{Key: "flag", Value: []byte{}},
		},
	}
	m, sizes, ids := first, []int{}, map[string]bool{}
	for round := range 5 {
		f := supervision.Failure{Err: errBoom, Message: &m, Attempt: 2, FirstAt: start, At: start.Add(time.Duration(round))}
		l := supervision.NewLetter(f, supervision.Verdict{Kind: supervision.DeadLetter, Reason: "2 attempts failed"})
		l.Group, l.Broker = "billing", "kafka"
		dead := supervision.Encode(&m, l, "orders.dead")

		if dead.Payload != nil || string(dead.Key) != "c-17" || !reflect.DeepEqual(dead.Headers[:3], first.Headers) {
			t.Fatalf("round %d: key %q, payload %q, headers %q", round, dead.Key, dead.Payload, dead.Headers[:3])
		}
		seen := map[string]int{}
		for _, h := range dead.Headers[3:] {
			if seen[h.Key]++; seen[h.Key] > 1 {
				t.Errorf("round %d: %s is there twice", round, h.Key)
			}
		}
		sizes, ids[dead.ID] = append(sizes, headerSize(dead)), true

		replay, err := supervision.Replay(&dead)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("orders/0/0~replay-%d", round+1); replay.ID != want {
			t.Errorf("round %d: id %q, want %q", round, replay.ID, want)
		}
		if got, _, _ := supervision.Decode(&replay); got.Topic != "" {
			t.Errorf("round %d: the replay has an envelope", round)
		}
		replay.ID = first.ID
		if !sameMessage(replay, first) {
			t.Fatalf("round %d: replay is\n%+v, want\n%+v", round, replay, first)
		}
		m.ID, m.Offset = fmt.Sprintf("orders/0/0~replay-%d", round+1), int64(round+2)
	}
	for _, size := range sizes {
		if size != sizes[0] {
			t.Errorf("header sizes by round: %v", sizes)
			break
		}
	}
	if len(ids) != 5 {
		t.Errorf("%d ids of 5 dead letters: a broker that deduplicates loses some", len(ids))
	}
}

func TestDecodeAfterForeignHands(t *testing.T) {
	m := brokers.Message{
		ID: "m-1", Topic: "orders", Key: []byte("k"), Time: start,
		Headers: brokers.Headers{
			{Key: "b", Value: []byte("1")},
			{Key: "a", Value: []byte("2")},
			{Key: "kafka_dlt-original-topic", Value: []byte("elsewhere")},
		},
	}
	encode := func() brokers.Message {
		return supervision.Encode(&m, supervision.Letter{ErrorMessage: "x", Broker: "kafka"}, "dead")
	}
	t.Run("headers added behind", func(t *testing.T) {
		dead := encode()
		dead.Headers = append(dead.Headers, brokers.Header{Key: "hop", Value: []byte("mirror")})
		original, _, err := supervision.Decode(&dead)
		if err != nil || !sameMessage(original, m) {
			t.Errorf("got %+v, %v", original, err)
		}
	})
	t.Run("headers added before", func(t *testing.T) {
		dead := encode()
		hop := brokers.Header{Key: "hop", Value: []byte("mirror")}
		dead.Headers = append(brokers.Headers{hop}, dead.Headers...)
		want := m
		want.Headers = append(brokers.Headers{hop}, m.Headers...)
		original, _, err := supervision.Decode(&dead)
		if err != nil || !sameMessage(original, want) {
			t.Errorf("got %+v, %v", original, err)
		}
	})
	t.Run("kinds lost", func(t *testing.T) {
		dead := encode()
		for i := range dead.Headers {
			dead.Headers[i].Kind = brokers.KindBytes
		}
		original, l, err := supervision.Decode(&dead)
		if err != nil || !sameMessage(original, m) || l.ErrorMessage != "x" {
			t.Errorf("got %+v, %+v, %v", original, l, err)
		}
	})
}

func TestDecodeErrors(t *testing.T) {
	plain := brokers.Message{Topic: "orders", Headers: brokers.Headers{{Key: "troupe-dl-reason", Value: []byte("x")}}}
	if _, _, err := supervision.Decode(&plain); !errors.Is(err, supervision.ErrNotDeadLetter) {
		t.Errorf("plain message: %v", err)
	}
	if _, err := supervision.Replay(&plain); !errors.Is(err, supervision.ErrNotDeadLetter) {
		t.Errorf("replay of a plain message: %v", err)
	}
	for _, key := range []string{
		"troupe-dl-headers", "troupe-dl-partition", "troupe-dl-offset", "troupe-dl-replays", "troupe-dl-time",
		"troupe-dl-ttl", "troupe-dl-priority", "troupe-dl-attempts", "troupe-dl-deliveries",
		"troupe-dl-first-failure", "troupe-dl-last-failure",
	} {
		t.Run(key, func(t *testing.T) {
			m := brokers.Message{Topic: "orders"}
			dead := supervision.Encode(&m, supervision.Letter{}, "dead")
			dead.Headers = append(dead.Headers, brokers.Header{Key: key, Value: []byte("?")})
			_, _, err := supervision.Decode(&dead)
			if !errors.Is(err, supervision.ErrMalformed) || !strings.Contains(err.Error(), key) {
				t.Fatalf("got %v", err)
			}
			// What cannot be read is kept as a whole.
			deader := supervision.Encode(&dead, supervision.Letter{}, "deader")
			original, _, err := supervision.Decode(&deader)
			if err != nil || !reflect.DeepEqual(original.Headers, dead.Headers) {
				t.Errorf("wrapped: %q, %v", original.Headers, err)
			}
		})
	}
	t.Run("no topic", func(t *testing.T) {
		dead := brokers.Message{Headers: brokers.Headers{{Key: "troupe-dl-headers", Value: []byte("0")}}}
		if _, _, err := supervision.Decode(&dead); !errors.Is(err, supervision.ErrMalformed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTimesThatNoHeaderHolds(t *testing.T) {
	m := brokers.Message{Topic: "orders", Time: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)}
	dead := supervision.Encode(&m, supervision.Letter{}, "dead")
	if original, _, err := supervision.Decode(&dead); err != nil || !original.Time.IsZero() {
		t.Errorf("got %v, %v", original.Time, err)
	}
}
