package nats_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

func listen(t *testing.T, b *nats.Broker, cfg nats.CoreSubscription) *nats.Listener {
	t.Helper()
	l, err := b.Core().Subscribe(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestCorePublish(t *testing.T) { onPairs(t, corePublish) }

func corePublish(t *testing.T, one, two *nats.Broker) {
	got, news := make(chan brokers.Message, 2), name("news")
	listen(t, two, nats.CoreSubscription{Subject: news + ".*.>", Handle: func(m *brokers.Message) { got <- m.Clone() }})
	if err := one.Core().Publish(&brokers.Message{Topic: news + ".uk.rain", Payload: []byte("bare")}); err != nil {
		t.Fatal(err)
	}
	full := brokers.Message{
		Topic: news + ".uk.sun", ID: "7", Key: []byte("k"), Payload: []byte{}, ContentType: "text/plain",
		Headers: brokers.Headers{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte("\n")}},
	}
	if err := one.Core().Publish(&full); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Topic != news+".uk.rain" || string(m.Payload) != "bare" || m.ID != "" || m.Key != nil || m.Headers != nil {
		t.Errorf("bare message: %+v", m)
	}
	m := <-got
	if m.Topic != full.Topic || m.ID != "7" || string(m.Key) != "k" || m.ContentType != "text/plain" || fmt.Sprint(m.Headers) != fmt.Sprint(full.Headers) {
		t.Errorf("got %+v; want %+v", m, full)
	}
}

func TestCoreInvalid(t *testing.T) {
	one, _ := openTwo(t)
	for _, subject := range []string{"", ".", "a..b", "a.", "a b", "a.*", ">", "a\r\nPUB x"} {
		if err := one.Core().Publish(&brokers.Message{Topic: subject, Payload: []byte{}}); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("Publish to %q: %v; want ErrInvalid", subject, err)
		}
	}
	handle := func(*brokers.Message) {}
	for name, cfg := range map[string]nats.CoreSubscription{
		"Subject":         {Subject: "a.>.b", Handle: handle},
		"Queue":           {Subject: "a", Queue: "a b", Handle: handle},
		"MaxPending":      {Subject: "a", MaxPending: -1, Handle: handle},
		"MaxPendingBytes": {Subject: "a", MaxPendingBytes: -1, Handle: handle},
		"Handle":          {Subject: "a"},
	} {
		if _, err := one.Core().Subscribe(t.Context(), cfg); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("a wrong %s: %v; want ErrInvalid", name, err)
		}
	}
	if err := one.Core().Publish(&brokers.Message{Topic: "a", Payload: make([]byte, 64<<20)}); !errors.Is(err, brokers.ErrTooLarge) {
		t.Errorf("64 MiB: %v; want ErrTooLarge", err)
	}
	if f := one.Core().Features(); f.Durable || f.Deduplication || f.IndividualAcks || f.SequencedPublish {
		t.Errorf("core NATS claims %+v", f)
	}
}

func TestQueueGroup(t *testing.T) { onPairs(t, queueGroup) }

func queueGroup(t *testing.T, one, two *nats.Broker) {
	var mu sync.Mutex
	work := name("work")
	seen, members := map[string]int{}, map[int]int{}
	all := make(chan struct{})
	for i, b := range []*nats.Broker{one, two} {
		listen(t, b, nats.CoreSubscription{Subject: work, Queue: "q", Handle: func(m *brokers.Message) {
			mu.Lock()
			defer mu.Unlock()
			seen[string(m.Payload)]++
			members[i]++
			if len(seen) == 200 {
				close(all)
			}
		}})
	}
	for i := range 200 {
		if err := one.Core().Publish(&brokers.Message{Topic: work, Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	mu.Lock()
	defer mu.Unlock()
	if members[0]+members[1] != 200 || members[0] == 0 || members[1] == 0 {
		t.Errorf("members got %v; want 200 in all, and some each", members)
	}
}

// A listener that is too slow loses messages, is told of each one, and drains
// what it has.
func TestDroppedAndDrained(t *testing.T) { onPairs(t, droppedAndDrained) }

func droppedAndDrained(t *testing.T, one, two *nats.Broker) {
	dropped, fast := make(chan nats.Dropped, 100), name("fast")
	release, began := make(chan struct{}), make(chan struct{}, 1)
	handled := 0
	l := listen(t, two, nats.CoreSubscription{
		Subject: fast, MaxPending: 10,
		Handle: func(*brokers.Message) {
			select {
			case began <- struct{}{}:
			default:
			}
			<-release
			handled++
		},
		OnDropped: func(d nats.Dropped) { dropped <- d },
	})
	publish := func(n int) {
		for range n {
			if err := one.Core().Publish(&brokers.Message{Topic: fast, Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := one.Core().Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := two.Core().Flush(t.Context()); err != nil { // all of it has come
			t.Fatal(err)
		}
	}
	publish(1)
	<-began
	publish(99)
	news := <-dropped // of some of them, or of all
	if news.Subject != fast || news.Total < 1 {
		t.Errorf("dropped: %+v", news)
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close(lasting(t, 20*time.Second)) }()
	total := news.Total
	for total < 90 {
		total = (<-dropped).Total
	}
	close(release)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if handled+total != 100 || handled != 10 {
		t.Errorf("handled %d, dropped %d; want 10 and 90", handled, total)
	}
}

func TestHandlerPanics(t *testing.T) { onPairs(t, handlerPanics) }

func handlerPanics(t *testing.T, one, two *nats.Broker) {
	got, subject := make(chan string, 1), name("s")
	listen(t, two, nats.CoreSubscription{Subject: subject, Handle: func(m *brokers.Message) {
		if string(m.Payload) == "bad" {
			panic("bad")
		}
		got <- string(m.Payload)
	}})
	for _, text := range []string{"bad", "good"} {
		if err := one.Core().Publish(&brokers.Message{Topic: subject, Payload: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	if text := <-got; text != "good" {
		t.Errorf("got %q after a panic", text)
	}
}
