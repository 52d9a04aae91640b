package postgres_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, url string, cfg postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, cfg)
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

// What every store promises, with transactions of pgx and of database/sql, and with
// a table that is cleared all the time.
func TestStore(t *testing.T) {
	for name, test := range map[string]struct {
		cfg postgres.Config
		sql bool
	}{
		"pgx":          {},
		"database/sql": {sql: true},
		"clearing":     {cfg: postgres.Config{ClearAfter: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			outboxtest.Run(t, func(t *testing.T) []outboxtest.Store {
				url := outboxtest.PostgresURL(t)
				test.cfg.Route = outboxtest.Route
				return []outboxtest.Store{tested(t, open(t, url, test.cfg), test.sql), tested(t, open(t, url, test.cfg), test.sql)}
			})
		})
	}
}

func tested(t *testing.T, s *postgres.Store, viaSQL bool) outboxtest.Store {
	o := outboxtest.Store{
		Source: s.Shards()[0], States: s, Pruner: s,
		Wrap: func(tx any) outboxtest.Tx { return transaction{s, tx.(pgx.Tx)} },
		InTx: func(ctx context.Context, f func(outboxtest.Tx) error) error {
			return s.InTx(ctx, func(tx pgx.Tx) error { return f(transaction{s, tx}) })
		},
		Int: func(ctx context.Context, query string) (n int64, err error) {
			return n, s.Pool().QueryRow(ctx, query).Scan(&n)
		},
	}
	if viaSQL {
		db := database(t, s.Pool())
		o.InTx = func(ctx context.Context, f func(outboxtest.Tx) error) error {
			return s.InSQLTx(ctx, db, func(tx *sql.Tx) error { return f(sqlTransaction{s, tx}) })
		}
	}
	return o
}

func database(t *testing.T, pool *pgxpool.Pool) *sql.DB {
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

type transaction struct {
	store *postgres.Store
	tx    pgx.Tx
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
	_, err := t.tx.Exec(ctx, statement)
	return err
}

type sqlTransaction struct {
	store *postgres.Store
	tx    *sql.Tx
}

func (t sqlTransaction) Append(ctx context.Context, messages ...brokers.Message) error {
	return t.store.AppendSQL(ctx, t.tx, messages...)
}

func (t sqlTransaction) Seen(ctx context.Context, consumer, id string) (bool, error) {
	return t.store.SeenSQL(ctx, t.tx, consumer, id)
}

func (t sqlTransaction) SeenAt(ctx context.Context, consumer, source string, partition int32, offset int64) (bool, error) {
	return t.store.SeenAtSQL(ctx, t.tx, consumer, source, partition, offset)
}

func (t sqlTransaction) Exec(ctx context.Context, statement string) error {
	_, err := t.tx.ExecContext(ctx, statement)
	return err
}
