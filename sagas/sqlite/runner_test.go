package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

func TestFastReplies(t *testing.T) {
	// Both wait for slow commits, and not for a processor.
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		sagatest.TestFastReplies(t, opened(t), memory.New(memory.Config{Partitions: 4}))
	})
	t.Run("jetstream", func(t *testing.T) {
		t.Parallel()
		broker, err := brokers.Open(t.Context(), "nats://embedded?dir="+t.TempDir(), embedded.Driver)
		if err != nil {
			t.Fatal(err)
		}
		sagatest.TestFastReplies(t, opened(t), broker)
	})
}

func TestWaitingIsCheap(t *testing.T) { sagatest.TestWaitingIsCheap(t, opened(t).Store) }

func BenchmarkLocalSteps(b *testing.B) {
	sagatest.BenchmarkLocalSteps(b, func(b *testing.B) sagas.Store {
		_, store := openFile(b, filepath.Join(b.TempDir(), "app.db"))
		return store
	})
}
