package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

// publisher is a relay without a broker: what it reads is published.
type publisher struct {
	t     *testing.T
	store *postgres.Store
	shard *postgres.Shard
	epoch int64
	wrote int
}

func newPublisher(t *testing.T, s *postgres.Store) *publisher {
	p := &publisher{t: t, store: s, shard: s.Shards()[0]}
	p.lead("r")
	return p
}

func (p *publisher) lead(name string) {
	p.t.Helper()
	epoch, err := p.shard.Lease(p.t.Context(), name, time.Minute)
	if err != nil {
		p.t.Fatal(err)
	}
	p.epoch = epoch
}

// write appends n messages, numbered on.
func (p *publisher) write(n int) {
	p.t.Helper()
	messages := make([]brokers.Message, n)
	for i := range messages {
		p.wrote++
		messages[i] = message("k", fmt.Sprint(p.wrote))
	}
	if err := p.store.InTx(p.t.Context(), func(tx pgx.Tx) error { return p.store.Append(p.t.Context(), tx, messages...) }); err != nil {
		p.t.Fatal(err)
	}
}

// publish has up to n rows done with, and returns them.
func (p *publisher) publish(n int) []outbox.Row {
	p.t.Helper()
	rows, err := p.shard.Rows(p.t.Context(), n)
	if err != nil {
		p.t.Fatal(err)
	}
	p.done(rows)
	return rows
}

func (p *publisher) done(rows []outbox.Row) {
	p.t.Helper()
	var seqs []int64
	for _, row := range rows {
		seqs = append(seqs, row.Seq)
	}
	if err := p.shard.Done(p.t.Context(), p.epoch, seqs); err != nil {
		p.t.Fatal(err)
	}
}

func stored(t *testing.T, s *postgres.Store) (n int) {
	t.Helper()
	if err := s.Pool().QueryRow(t.Context(), `SELECT count(*) FROM troupe_outbox`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A segment is dropped when nothing of it waits, and not before.
func TestClear(t *testing.T) {
	s := open(t, outboxtest.PostgresURL(t), postgres.Config{ClearAfter: 10})
	p := newPublisher(t, s)
	p.write(12)
	rows, err := p.shard.Rows(t.Context(), 100)
	if err != nil || len(rows) != 12 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	p.done(rows[1:11])
	if n := stored(t, s); n != 12 {
		t.Errorf("%d rows are stored while two of them wait, want all 12", n)
	}
	p.write(1)
	rest := p.publish(100)
	if len(rest) != 3 || rest[0].Message.ID != "1" || rest[1].Message.ID != "12" || rest[2].Message.ID != "13" {
		t.Errorf("left are %+v", rest)
	}
	if n := stored(t, s); n > 1 {
		t.Errorf("%d rows are stored, all of them done with", n)
	}
}

// Though many rows wait at all times, what was published before them is dropped.
func TestClearBesideBacklog(t *testing.T) {
	s := open(t, outboxtest.PostgresURL(t), postgres.Config{ClearAfter: 1000})
	p := newPublisher(t, s)
	const backlog = 8000
	p.write(backlog)
	for n := 0; n < 30_000; n += 500 {
		p.write(500)
		if rows := p.publish(500); len(rows) != 500 || rows[0].Message.ID != fmt.Sprint(n+1) {
			t.Fatalf("%d rows after %d, first %+v", len(rows), n, rows[0])
		}
		// A segment waits for its last row, and each of them may have two backlogs.
		if n := stored(t, s); n > 3*backlog {
			t.Fatalf("%d rows are stored, and %d wait", n, backlog)
		}
	}
}

// A transaction that has written, and stays open, keeps the segment that it has
// written to, and no other. Nobody waits for it.
func TestClearBesideWriter(t *testing.T) {
	s, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{ClearAfter: 100}), t.Context()
	p := newPublisher(t, s)
	var late []pgx.Tx
	for i := range 2 { // two of them, in two segments
		tx, err := s.Pool().Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Append(ctx, tx, message(fmt.Sprint("late", i), fmt.Sprint("late ", i))); err != nil {
			t.Fatal(err)
		}
		late = append(late, tx)
		for range 100 {
			p.write(20)
			p.publish(100)
			if n := stored(t, s); n > 500 {
				t.Fatalf("%d rows are stored beside %d open transactions", n, i+1)
			}
		}
	}
	for _, tx := range late {
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if rows := p.publish(100); len(rows) != 2 || rows[0].Message.ID != "late 0" || rows[1].Message.ID != "late 1" {
		t.Errorf("published %+v, want what was committed late", rows)
	}
	for stored(t, s) > 125 { // it looks after another quarter
		p.write(20)
		p.publish(100)
	}
}

// Relays that change before they have published much do not keep all there was.
func TestClearThoughRelaysChange(t *testing.T) {
	url, wrote := outboxtest.PostgresURL(t), 0
	for i := range 20 {
		s := open(t, url, postgres.Config{ClearAfter: 100})
		p := newPublisher(t, s)
		p.wrote = wrote
		p.write(30)
		p.publish(100)
		wrote = p.wrote
		if err := p.shard.Release(t.Context(), p.epoch); err != nil {
			t.Fatal(err)
		}
		if n := stored(t, s); n > 130 {
			t.Fatalf("%d rows are stored when the %dth relay ends", n, i+1)
		}
	}
}

// Somebody who reads the tables, as a backup does, keeps them as they are, and the
// relay waits for nobody meanwhile.
func TestClearBesideReader(t *testing.T) {
	s, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{ClearAfter: 10}), t.Context()
	p := newPublisher(t, s)
	reader, err := s.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(ctx, `LOCK TABLE troupe_outbox IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		p.write(10)
		if rows := p.publish(100); len(rows) != 10 {
			t.Fatalf("published %d", len(rows))
		}
	}
	if err := reader.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	for stored(t, s) > 20 {
		p.write(10)
		p.publish(100)
	}
}
