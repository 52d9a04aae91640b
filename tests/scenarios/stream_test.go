package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/supervision"
)

// teller handles payments of accounts and notes what it got.
type teller struct {
	mu      sync.Mutex
	seen    map[string][]int
	failed  int
	arrived chan struct{} // of one
}

// Receive fails twice with payment 3 of account 1.
func (h *teller) Receive(ctx *actors.Context) error {
	n, err := strconv.Atoi(string(ctx.Event().Payload))
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Key() == "account-1" && n == 3 && ctx.Attempt() < 3 {
		h.failed++
		return errors.New("the ledger is shut")
	}
	h.seen[ctx.Key()] = append(h.seen[ctx.Key()], n)
	select {
	case h.arrived <- struct{}{}:
	default:
	}
	return nil
}

// await waits until each account has so many payments, and checks their order.
func (h *teller) await(ctx context.Context, t *testing.T, accounts, payments int) {
	t.Helper()
	for {
		h.mu.Lock()
		done := 0
		for account, numbers := range h.seen {
			for i, n := range numbers {
				if n != i {
					h.mu.Unlock()
					t.Fatalf("%s was handed %v", account, numbers)
				}
			}
			if len(numbers) == payments {
				done++
			}
		}
		h.mu.Unlock()
		if done == accounts {
			return
		}
		select {
		case <-h.arrived:
		case <-ctx.Done():
			t.Fatalf("%d of %d accounts have %d payments", done, accounts, payments)
		}
	}
}

// A stream that another program made feeds actors of keys, which are a token of
// its subjects: in order per key and once each, while a key fails and while its
// reading moves from one member to another.
func TestStreamOfOthersFeedsActors(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		broker, err := embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = broker.Close() }()
		streamOfOthers(t, client.InProcessServer(broker.Server()))
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		url := os.Getenv("TEST_NATS_URL")
		if url == "" {
			if os.Getenv("REQUIRE_BROKERS") == "1" {
				t.Fatal("TEST_NATS_URL is not set, and REQUIRE_BROKERS is")
			}
			t.Skip("TEST_NATS_URL is not set")
		}
		streamOfOthers(t, func(o *client.Options) error { o.Url = url; o.Servers = []string{url}; return nil })
	})
}

func streamOfOthers(t *testing.T, server client.Option) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc, err := client.Connect("", server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream := "bank-" + uuid.NewString()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{stream + ".>"}}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = js.DeleteStream(context.WithoutCancel(ctx), stream) }()
	const accounts, payments = 20, 40
	pay := func(from, to int) {
		for n := from; n < to; n++ {
			for a := range accounts {
				for _, what := range []string{"paid", "viewed"} {
					subject := fmt.Sprintf("%s.account-%d.%s", stream, a, what)
					if _, err := js.Publish(ctx, subject, []byte(strconv.Itoa(n))); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	h := &teller{seen: map[string][]int{}, arrived: make(chan struct{}, 1)}
	member := func() (stop func()) {
		b, err := nats.Open(ctx, nats.Config{Options: []client.Option{server}, MemberInterval: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.MapStream(nats.StreamTopic{Topic: "payments", Stream: stream, Filters: []string{stream + ".*.paid"}}); err != nil {
			t.Fatal(err)
		}
		end := start(t, actors.Subscription{
			Group: "bank", Broker: b, Topics: []string{"payments"}, Key: nats.SubjectToken(1), Actor: actors.Shared(h),
			Policy: supervision.Policy{Backoff: supervision.Constant(50 * time.Millisecond)},
		}, discarded(t))
		return func() { end(); _ = b.Close() }
	}
	pay(0, payments/4)
	first := member()
	pay(payments/4, payments/2)
	h.await(ctx, t, accounts, payments/2)
	second := member()
	defer second()
	pay(payments/2, payments)
	first()
	h.await(ctx, t, accounts, payments)
	if h.failed != 2 {
		t.Errorf("payment 3 of account 1 failed %d times; want 2", h.failed)
	}
}

// discarded takes events that nobody looks at.
func discarded(t *testing.T) chan<- actors.Event {
	t.Helper()
	events, done := make(chan actors.Event), make(chan struct{})
	go func() {
		defer close(done)
		for range events {
		}
	}()
	t.Cleanup(func() { close(events); <-done })
	return events
}
