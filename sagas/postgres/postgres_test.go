package postgres_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/postgres"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) (*outboxpostgres.Store, *postgres.Store) {
	t.Helper()
	return openURL(t, outboxtest.PostgresURL(t))
}

func openURL(t testing.TB, url string) (*outboxpostgres.Store, *postgres.Store) {
	t.Helper()
	db, err := outboxpostgres.Open(t.Context(), url, outboxpostgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := postgres.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return db, store
}

// opened is a store in a schema of its own.
func opened(t *testing.T) sagatest.Opened {
	db, store := open(t)
	return sagatest.Opened{Store: store, Source: db.Shards()[0]}
}

func TestStore(t *testing.T) { sagatest.TestStore(t, opened) }

// Both wait for slow commits, and not for a processor.
func TestFastReplies(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		sagatest.TestFastReplies(t, opened(t), memory.New(memory.Config{Partitions: 4}))
	})
	t.Run("jetstream", func(t *testing.T) {
		t.Parallel()
		stores := opened(t) // first, as it may skip
		broker, err := brokers.Open(t.Context(), "nats://embedded?dir="+t.TempDir(), embedded.Driver)
		if err != nil {
			t.Fatal(err)
		}
		sagatest.TestFastReplies(t, stores, broker)
	})
}

func TestWaitingIsCheap(t *testing.T) { sagatest.TestWaitingIsCheap(t, opened(t).Store) }

func BenchmarkLocalSteps(b *testing.B) {
	sagatest.BenchmarkLocalSteps(b, func(b *testing.B) sagas.Store {
		_, store := open(b)
		return store
	})
}
