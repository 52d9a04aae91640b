package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

// A backup takes the place of the database under running relays, which were far
// beyond it, and are told nothing: what is written from then on is published, though
// its numbers were published before, and of what the backup has nothing is lost.
func TestRestoredBackup(t *testing.T) {
	d := outboxtest.PostgresDatabase(t)
	s, b := open(t, d.URL, postgres.Config{}), newBroker(t)
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
	d.Backup()
	var lost []string
	for i := range 50 {
		lost = append(lost, fmt.Sprint("lost ", i))
	}
	write(lost...)
	await(t, b, "lost 49")
	drained(t, s)
	d.Restore()
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
