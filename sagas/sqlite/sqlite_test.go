package sqlite_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas/sagatest"
	"github.com/troupe-go/troupe/sagas/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) (*outboxsqlite.Store, *sqlite.Store) {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "app.db"))
}

func openFile(t testing.TB, path string) (*outboxsqlite.Store, *sqlite.Store) {
	t.Helper()
	db, err := outboxsqlite.Open(t.Context(), path, outboxsqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := sqlite.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return db, store
}

// opened is a store in a file of its own.
func opened(t *testing.T) sagatest.Opened {
	db, store := open(t)
	return sagatest.Opened{Store: store, Source: db}
}

func TestStore(t *testing.T) { sagatest.TestStore(t, opened) }
