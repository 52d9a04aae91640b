package outboxtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
)

func message(key, id string) brokers.Message {
	return brokers.Message{Topic: "orders", Key: []byte(key), ID: id, Payload: []byte("payload of " + id)}
}

func appendTo(t *testing.T, s Store, messages ...brokers.Message) {
	t.Helper()
	if err := s.InTx(t.Context(), func(tx Tx) error { return tx.Append(t.Context(), messages...) }); err != nil {
		t.Fatal(err)
	}
}

// relaying runs a relay until stop is called.
func relaying(t *testing.T, cfg outbox.Config) (stop func()) {
	t.Helper()
	r, err := outbox.NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func newBroker(t *testing.T) *memory.Broker {
	t.Helper()
	b := memory.New(memory.Config{Partitions: 1})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// await waits for a number of messages of a topic, and returns their ids.
func await(t *testing.T, b *memory.Broker, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Server().Await(ctx, func() bool { return len(b.Server().Messages(topic)) >= n }); err != nil {
		t.Fatalf("%d messages of %d in %q: %v", len(b.Server().Messages(topic)), n, topic, err)
	}
	var ids []string
	for _, m := range b.Server().Messages(topic) {
		ids = append(ids, m.ID)
	}
	return ids
}

// drained waits until nothing waits in the outbox.
func drained(t *testing.T, s Store) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		lag, err := s.Source.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lag.Rows == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%+v wait", lag)
		}
	}
}
