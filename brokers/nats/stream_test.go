package nats_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

func TestStreamAsData(t *testing.T) {
	b, _ := openTwo(t)
	ctx := lasting(t, 30*time.Second)
	cfg := nats.StreamConfig{
		Name: "audit", Subjects: []string{"audit.>", "log.*"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
		MaxMessages: 100, MaxBytes: 1 << 20, MaxAge: time.Hour, MaxPerSubject: 10, MaxMessageBytes: 1000, DedupWindow: time.Minute, MessageTTL: true,
	}
	if change, err := b.PlanStream(ctx, cfg); err != nil || !change.Missing {
		t.Errorf("plan without a stream: %+v, %v", change, err)
	}
	var mismatch *nats.StreamMismatchError
	if _, err := b.ApplyStream(ctx, cfg, nats.StreamCheck); !errors.As(err, &mismatch) || !mismatch.Missing {
		t.Errorf("check without a stream: %v", err)
	}
	if change, err := b.ApplyStream(ctx, cfg, nats.StreamCreate); err != nil || !change.Missing {
		t.Fatalf("create: %+v, %v", change, err)
	}
	for _, mode := range []nats.StreamMode{nats.StreamCheck, nats.StreamCreate, nats.StreamUpdate} {
		if change, err := b.ApplyStream(ctx, cfg, mode); err != nil || !change.None() {
			t.Errorf("mode %d with the same: %+v, %v", mode, change, err)
		}
	}
	other := cfg
	other.MaxAge, other.Subjects, other.MessageTTL, other.MaxMessages = 2*time.Hour, []string{"audit.>"}, true, 0
	want := []nats.StreamDifference{
		{"Subjects", "[audit.> log.*]", "[audit.>]"}, {"MaxMessages", "100", "-1"}, {"MaxAge", "1h0m0s", "2h0m0s"},
	}
	_, err := b.ApplyStream(ctx, other, nats.StreamCreate)
	if !errors.As(err, &mismatch) || !reflect.DeepEqual(mismatch.Differences, want) || !strings.Contains(err.Error(), "MaxAge is 1h0m0s, want 2h0m0s") {
		t.Errorf("create with another: %v", err)
	}
	if change, err := b.PlanStream(ctx, other); err != nil || !reflect.DeepEqual(change.Differences, want) {
		t.Errorf("plan: %+v, %v", change, err)
	}
	if change, err := b.PlanStream(ctx, cfg); err != nil || !change.None() {
		t.Errorf("a plan has changed the stream: %+v, %v", change, err)
	}
	if change, err := b.ApplyStream(ctx, other, nats.StreamUpdate); err != nil || !reflect.DeepEqual(change.Differences, want) {
		t.Errorf("update: %+v, %v", change, err)
	}
	if change, err := b.ApplyStream(ctx, other, nats.StreamCheck); err != nil || !change.None() {
		t.Errorf("after the update: %+v, %v", change, err)
	}
	other.Storage = jetstream.FileStorage
	if _, err := b.ApplyStream(ctx, other, nats.StreamUpdate); err == nil {
		t.Error("the server changed the storage of a stream")
	}
	for field, wrong := range map[string]nats.StreamConfig{
		"Name":     {Name: "a b", Subjects: []string{"x"}},
		"Subjects": {Name: "a"},
		"MaxBytes": {Name: "a", Subjects: []string{"x"}, MaxBytes: -1},
	} {
		if _, err := b.PlanStream(ctx, wrong); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v", field, err)
		}
	}
	if err := b.EnsureTopic(ctx, brokers.TopicConfig{Name: "topic", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ApplyStream(ctx, nats.StreamConfig{Name: "topic", Subjects: []string{"topic.p.*"}}, nats.StreamUpdate); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("a topic was changed: %v", err)
	}
}

var errEnough = errors.New("enough")

// readSome reads n messages.
func readSome(t *testing.T, b *nats.Broker, cfg nats.StreamReader, n int) (got []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(lasting(t, 30*time.Second))
	defer cancel()
	err := b.ReadStream(ctx, cfg, func(_ context.Context, m *brokers.Message) error {
		got = append(got, fmt.Sprintf("%d %s %s", m.Offset, m.Topic, m.Payload))
		if len(got) == n {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != n {
		t.Fatalf("read %v, %v; want %d messages", got, err, n)
	}
	return got
}

func TestReadStream(t *testing.T) {
	b, _ := openTwo(t)
	ctx := lasting(t, 30*time.Second)
	if _, err := b.ApplyStream(ctx, nats.StreamConfig{Name: "s", Subjects: []string{"s.>"}}, nats.StreamCreate); err != nil {
		t.Fatal(err)
	}
	var middle time.Time
	for i, subject := range []string{"s.a.x", "s.b.x", "s.a.y", "s.b.y"} {
		if i == 2 {
			middle = time.Now()
		}
		if err := b.Core().Publish(&brokers.Message{Topic: subject, Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
		readSome(t, b, nats.StreamReader{Stream: "s"}, i+1) // it is stored
	}
	all := []string{"1 s.a.x 0", "2 s.b.x 1", "3 s.a.y 2", "4 s.b.y 3"}
	for _, c := range []struct {
		cfg  nats.StreamReader
		want []string
	}{
		{nats.StreamReader{}, all},
		{nats.StreamReader{Filters: []string{"s.a.*"}}, []string{all[0], all[2]}},
		{nats.StreamReader{Filters: []string{"s.a.x", "s.*.y"}}, []string{all[0], all[2], all[3]}},
		{nats.StreamReader{Start: nats.StreamStart{Sequence: 3}}, all[2:]},
		{nats.StreamReader{Start: nats.StreamStart{Time: middle}}, all[2:]},
		{nats.StreamReader{Durable: "d", Start: nats.StreamStart{Sequence: 2}}, all[1:3]},
		{nats.StreamReader{Durable: "d"}, all[3:]}, // it goes on
	} {
		c.cfg.Stream = "s"
		if got := readSome(t, b, c.cfg, len(c.want)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %v; want %v", c.cfg, got, c.want)
		}
	}
	// What failed comes again, first.
	var got []int64
	failing := nats.StreamReader{Stream: "s", Durable: "failing"}
	fail := func(_ context.Context, m *brokers.Message) error { got = append(got, m.Offset); return errEnough }
	for range 2 {
		if err := b.ReadStream(ctx, failing, fail); !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, []int64{1, 1}) {
		t.Errorf("failing: %v", got)
	}
	if err := b.ReadStream(ctx, nats.StreamReader{Stream: "nowhere"}, fail); !errors.Is(err, brokers.ErrUnknownTopic) {
		t.Errorf("no stream: %v", err)
	}
	if err := b.ReadStream(ctx, nats.StreamReader{Stream: "s", Start: nats.StreamStart{New: true, Sequence: 1}}, fail); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("two starts: %v", err)
	}
}

// What is published for later comes then, and not sooner.
func TestPublishLater(t *testing.T) { onPairs(t, publishLater) }

func publishLater(t *testing.T, b, _ *nats.Broker) {
	ctx := lasting(t, 30*time.Second)
	later := name("later")
	if _, err := b.ApplyStream(ctx, nats.StreamConfig{Name: later, Subjects: []string{later + ".>"}, Schedules: true, MessageTTL: true}, nats.StreamCreate); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(2 * time.Second)
	if err := b.PublishLater(ctx, later+".schedule.1", at, &brokers.Message{Topic: later + ".due", Key: []byte("k"), Payload: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	err := b.ReadStream(ctx, nats.StreamReader{Stream: later, Filters: []string{later + ".due"}}, func(_ context.Context, m *brokers.Message) error {
		if string(m.Payload) != "hello" || string(m.Key) != "k" {
			t.Errorf("got %+v", m)
		}
		return errEnough
	})
	// The server's times are whole seconds.
	if early := time.Until(at); !errors.Is(err, errEnough) || early > time.Second {
		t.Errorf("%v, %v before its time", err, early)
	}
}
