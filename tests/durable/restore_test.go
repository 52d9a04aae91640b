package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	contract "github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/supervision"
)

const before, all = 200, 500 // movements until the backup, and in total

// A database with the states of durable actors is restored from a backup, and its
// group put back to a position before that: what the backup knows is not handled
// again, all else is, and is published again under the same ids.
func TestRestoredConsumer(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		live, copied := filepath.Join(dir, "live.db"), filepath.Join(dir, "backup.db")
		consumeTwice(t, "sqlite:"+live,
			func(l *ledger) error { return l.exec(t.Context(), `VACUUM INTO '`+copied+`'`) },
			func() error {
				for _, rest := range []string{"-wal", "-shm"} { // of the one that is replaced
					if err := os.Remove(live + rest); err != nil && !os.IsNotExist(err) {
						return err
					}
				}
				return os.Rename(copied, live)
			})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		d := outboxtest.PostgresDatabase(t)
		consumeTwice(t, d.URL,
			func(*ledger) error { d.Backup(); return nil },
			func() error { d.Restore(); return nil })
	})
}

func consumeTwice(t *testing.T, dsn string, backup func(*ledger) error, restore func() error) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	published := make(map[string]string) // payloads by id
	emitted := func(b *memory.Broker) (n int) {
		for _, m := range b.Server().Messages("statements") {
			if was, ok := published[m.ID]; ok && was != string(m.Payload) {
				t.Errorf("%s was %s, and is %s", m.ID, was, m.Payload)
			}
			published[m.ID] = string(m.Payload)
			n++
		}
		return n
	}

	b := memory.New(memory.Config{Partitions: 4})
	l, err := openLedger(t.Context(), dsn)
	must(err)
	stop := keepAccounts(t, l, b)
	publishMovements(t, b, 0, before)
	awaitStatements(t, l, b, before)
	must(backup(l))
	publishMovements(t, b, before, all)
	awaitStatements(t, l, b, all)
	stop()
	if n := emitted(b); n < all {
		t.Errorf("%d statements, want %d", n, all)
	}
	must(l.close())
	must(b.Close())

	must(restore())
	b = memory.New(memory.Config{Partitions: 4}) // where the group has no position
	publishMovements(t, b, 0, all)
	l, err = openLedger(t.Context(), dsn)
	must(err)
	stop = keepAccounts(t, l, b)
	awaitStatements(t, l, b, all-before)
	stop()
	if n := emitted(b); n < all-before || n > all || len(published) != all {
		t.Errorf("%d statements after the backup, want %d; with %d ids, want %d", n, all-before, len(published), all)
	}
	for k := range keys {
		var got account
		record, err := l.Load(t.Context(), contract.Scope{Group: group, Topic: "movements"}, keyOf(k))
		must(err)
		must(json.Unmarshal(record.State, &got))
		var want []int
		for n := k; n < all; n += keys {
			want = append(want, n)
		}
		if !slices.Equal(got.Seen, want) {
			t.Errorf("%s has %v, want %v", keyOf(k), got.Seen, want)
		}
	}
	must(l.close())
	must(b.Close())
}

// keepAccounts runs the accounts and what publishes their statements.
func keepAccounts(t *testing.T, l *ledger, b *memory.Broker) (stop func()) {
	t.Helper()
	blueprint := actors.Durable(func(string) *account { return &account{} }, actors.Durability{Store: l})
	actors.On(blueprint, "movement", (*account).moved)
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: group, Broker: b, Topics: []string{"movements"}, Actor: blueprint,
		Policy: supervision.Policy{Backoff: supervision.Constant(time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	run, err := l.relays(b, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	run = append(run, func(ctx context.Context) error { _, err := sys.Run(ctx); return err })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, f := range run {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); running.Wait() })
}

func publishMovements(t *testing.T, b *memory.Broker, from, to int) {
	t.Helper()
	publisher, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		payload, err := json.Marshal(movement{n, amount(n)})
		if err == nil {
			_, err = publisher.Publish(t.Context(), brokers.Message{
				Topic: "movements", Key: []byte(keyOf(n)), ID: fmt.Sprint("movement ", n), Payload: payload,
				Headers: brokers.Headers{{Key: "type", Value: []byte("movement")}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := publisher.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// awaitStatements waits until all movements are handled, so many statements are
// published, and no more wait.
func awaitStatements(t *testing.T, l *ledger, b *memory.Broker, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := b.Server().Await(ctx, func() bool {
		return b.Server().Lag(group, "movements") == 0 && len(b.Server().Messages("statements")) >= n
	})
	for lag := int64(1); err == nil && lag > 0; {
		if lag, err = l.lag(ctx); err == nil {
			pause(ctx, 5*time.Millisecond)
		}
	}
	if err != nil {
		t.Fatalf("%d of %d statements: %v", len(b.Server().Messages("statements")), n, err)
	}
}
