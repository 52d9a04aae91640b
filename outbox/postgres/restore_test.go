package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

// admin runs statements outside of the database under test.
func admin(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), os.Getenv("TEST_PG_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // nothing is under way
	for _, statement := range statements {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// A backup takes the place of the database under running relays, which were far
// beyond it, and are told nothing: what is written from then on is published, though
// its numbers were published before, and of what the backup has nothing is lost.
func TestRestoredBackup(t *testing.T) {
	outboxtest.PostgresURL(t) // skips
	name := "restore_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	u, err := url.Parse(os.Getenv("TEST_PG_URL"))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	// Nobody may be connected to a database that is copied or renamed.
	alone := fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'`, name)
	closed, opened := `ALTER DATABASE `+name+` ALLOW_CONNECTIONS false`, `ALTER DATABASE `+name+` ALLOW_CONNECTIONS true`
	t.Cleanup(func() {
		admin(t, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`, `DROP DATABASE IF EXISTS `+name+`_backup WITH (FORCE)`)
	})
	admin(t, `CREATE DATABASE `+name)
	s, b := open(t, u.String(), postgres.Config{}), newBroker(t)
	relaying(t, s, b)
	write := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			err := errors.New("not tried")
			for try := 0; err != nil; try++ { // the pool still has connections that were ended
				err = s.InTx(t.Context(), func(tx pgx.Tx) error { return s.Append(t.Context(), tx, message("k", id)) })
				if err != nil && try == 20 {
					t.Fatal(err)
				}
			}
		}
	}
	write("1", "2", "3")
	await(t, b, "3")
	drained(t, s)
	admin(t, closed, alone, `CREATE DATABASE `+name+`_backup TEMPLATE `+name, opened)
	var lost []string
	for i := range 50 {
		lost = append(lost, fmt.Sprint("lost ", i))
	}
	write(lost...)
	await(t, b, "lost 49")
	drained(t, s)
	admin(t, closed, alone, `DROP DATABASE `+name, `ALTER DATABASE `+name+`_backup RENAME TO `+name)
	write("4", "5")
	ids := await(t, b, "5")
	if !slices.Equal(ids[len(ids)-2:], []string{"4", "5"}) {
		t.Errorf("published %q at the end", ids[max(0, len(ids)-5):])
	}
	drained(t, s)
	if hi := openNumbers(t, s); hi != 0 {
		t.Errorf("%d numbers are open", hi)
	}
}

// A database that changes under a reader without any error, as a pool replaces idle
// connections, is noticed all the same; so is a sequence that is older than the
// place.
func TestPlaceMovesBack(t *testing.T) {
	s, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{}), t.Context()
	shard := s.Shards()[0]
	epoch, err := shard.Lease(ctx, "r", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	write := func(id string) {
		t.Helper()
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message("k", id)) }); err != nil {
			t.Fatal(err)
		}
	}
	// pass publishes all there is, and returns the ids.
	pass := func() (ids []string) {
		t.Helper()
		rows, err := shard.Rows(ctx, 100)
		if err != nil { // the place is read anew
			rows, err = shard.Rows(ctx, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
		var seqs []int64
		for _, row := range rows {
			ids, seqs = append(ids, row.Message.ID), append(seqs, row.Seq)
		}
		if err := shard.Done(ctx, epoch, seqs); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for i := range 5 {
		write(fmt.Sprint(i))
	}
	if ids := pass(); len(ids) != 5 {
		t.Fatalf("published %q", ids)
	}
	for name, restore := range map[string]string{
		"all":              `TRUNCATE troupe_outbox; UPDATE troupe_relays SET hi = 2; SELECT setval('troupe_outbox_seq_0', 2)`,
		"an old sequence":  `TRUNCATE troupe_outbox; UPDATE troupe_relays SET hi = 4; SELECT setval('troupe_outbox_seq_0', 1)`,
		"another relay is": `UPDATE troupe_relays SET hi = hi - 1`,
	} {
		if _, err := s.Pool().Exec(ctx, restore); err != nil {
			t.Fatal(err)
		}
		if _, err := shard.Rows(ctx, 100); err == nil {
			t.Errorf("%s: the place has moved, and nobody noticed", name)
		}
		pass()
		write("after " + name)
		if ids := pass(); !slices.Contains(ids, "after "+name) {
			t.Errorf("%s: published %q", name, ids)
		}
	}
}
