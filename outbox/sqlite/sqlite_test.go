package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	outboxtest.Run(t, func(t *testing.T) []outboxtest.Store {
		path := filepath.Join(t.TempDir(), "a file?.db")
		return []outboxtest.Store{tested(openFile(t, path)), tested(openFile(t, path))}
	})
}

func openFile(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Config{Route: outboxtest.Route})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func tested(s *sqlite.Store) outboxtest.Store {
	return outboxtest.Store{
		Source: s, States: s, Pruner: s,
		Wrap: func(tx any) outboxtest.Tx { return transaction{s, tx.(*sql.Tx)} },
		InTx: func(ctx context.Context, f func(outboxtest.Tx) error) error {
			return s.InTx(ctx, func(tx *sql.Tx) error { return f(transaction{s, tx}) })
		},
		Int: func(ctx context.Context, query string) (n int64, err error) {
			return n, s.DB().QueryRowContext(ctx, query).Scan(&n)
		},
	}
}

type transaction struct {
	store *sqlite.Store
	tx    *sql.Tx
}

func (t transaction) Append(ctx context.Context, messages ...brokers.Message) error {
	return t.store.Append(ctx, t.tx, messages...)
}

func (t transaction) Seen(ctx context.Context, consumer, id string) (bool, error) {
	return t.store.Seen(ctx, t.tx, consumer, id)
}

func (t transaction) SeenAt(ctx context.Context, consumer, source string, partition int32, offset int64) (bool, error) {
	return t.store.SeenAt(ctx, t.tx, consumer, source, partition, offset)
}

func (t transaction) Exec(ctx context.Context, statement string) error {
	_, err := t.tx.ExecContext(ctx, statement)
	return err
}

// Migrations are applied once, and newer tables are not touched.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	s := openFile(t, path)
	err := s.InTx(t.Context(), func(tx *sql.Tx) error {
		return s.Append(t.Context(), tx, brokers.Message{Topic: "orders", ID: "1"})
	})
	if err != nil {
		t.Fatal(err)
	}
	again := openFile(t, path)
	if lag, err := again.Lag(t.Context()); err != nil || lag.Rows != 1 {
		t.Errorf("lag %+v, %v", lag, err)
	}
	if _, err := s.DB().ExecContext(t.Context(), `UPDATE troupe_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path, sqlite.Config{Route: outboxtest.Route}); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("newer tables: %v", err)
	}
	if len(sqlite.Migrations()) != 4 {
		t.Errorf("%d migrations", len(sqlite.Migrations()))
	}
}
