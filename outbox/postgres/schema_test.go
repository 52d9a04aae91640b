package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

// The tables are made once, and neither newer ones nor another number of shards are
// accepted.
func TestMigrate(t *testing.T) {
	url := outboxtest.PostgresURL(t)
	s := open(t, url, postgres.Config{Shards: 2})
	open(t, url, postgres.Config{Shards: 2})
	if _, err := postgres.Open(t.Context(), url, postgres.Config{Shards: 3}); !errors.Is(err, postgres.ErrConfig) {
		t.Errorf("another number of shards: %v", err)
	}
	if _, err := s.Pool().Exec(t.Context(), `UPDATE troupe_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), url, postgres.Config{Shards: 2}); err == nil {
		t.Error("newer tables were accepted")
	}
	if _, err := postgres.New(s.Pool(), postgres.Config{Shards: -1}); !errors.Is(err, postgres.ErrConfig) {
		t.Errorf("-1 shards: %v", err)
	}
}

// earlier are the shard, the place and the INSERT of the version before segments.
const (
	earlierShard = `CREATE TABLE troupe_outbox_%[1]d PARTITION OF troupe_outbox (PRIMARY KEY (id)) FOR VALUES IN (%[1]d);
		CREATE SEQUENCE troupe_outbox_seq_%[1]d CACHE 1 OWNED BY troupe_outbox_%[1]d.id;
		INSERT INTO troupe_relays (shard) VALUES (%[1]d);`
	earlierAppend = `INSERT INTO troupe_outbox (xid, shard, id, lane, message)
		SELECT pg_current_xact_id(), %[1]d, nextval('troupe_outbox_seq_%[1]d'), $1::bigint, $2::bytea`
	earlierPlace = `UPDATE troupe_relays SET hi = $2, open = $3 WHERE shard = $1`
)

// Tables of an earlier version, with rows that were published, that wait before the
// place and behind it, and a transaction of a program of that version that writes
// later: the waiting ones are published, the others are not again, and all goes on.
func TestMigrateWithRows(t *testing.T) {
	url, ctx := outboxtest.PostgresURL(t), t.Context()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(ctx, statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, migration := range postgres.Migrations()[:3] {
		exec(migration)
	}
	exec(`CREATE TABLE troupe_schema (version integer NOT NULL); INSERT INTO troupe_schema VALUES (3)`)
	appendTo := func(shard int, id string) {
		t.Helper()
		e, err := outbox.NewEntry(message("k", id), nil)
		if err != nil {
			t.Fatal(err)
		}
		exec(fmt.Sprintf(earlierAppend, shard), int64(e.Lane), e.Data)
	}
	for shard := range 2 {
		exec(fmt.Sprintf(earlierShard, shard))
		for n := range 5 {
			appendTo(shard, fmt.Sprintf("%d/%d", shard, n+1))
		}
		exec(earlierPlace, shard, 4, []int64{2, 3}) // and 5 is beyond
	}
	s, b := open(t, url, postgres.Config{Shards: 2, ClearAfter: 3}), newBroker(t)
	appendTo(0, "0/6") // by a program that still runs
	if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message("x", "new"), message("y", "new too")) }); err != nil {
		t.Fatal(err)
	}
	relaying(t, s, b)
	want := []string{"0/2", "0/3", "0/5", "0/6", "1/2", "1/3", "1/5", "new", "new too"}
	got := await(t, b, want...)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	drained(t, s)
	limit := time.After(20 * time.Second)
	for i := 0; stored(t, s) > 12; i++ { // what was published is cleared with what is published from now on
		id := fmt.Sprint("later ", i)
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message(id, id)) }); err != nil {
			t.Fatal(err)
		}
		await(t, b, id)
		drained(t, s)
		select {
		case <-limit:
			t.Fatalf("%d rows are stored", stored(t, s))
		default:
		}
	}
}
