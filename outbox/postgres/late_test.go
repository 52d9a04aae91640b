package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/outbox/postgres"
)

func message(key, id string) brokers.Message {
	return brokers.Message{Topic: "orders", Key: []byte(key), ID: id, Payload: []byte("payload of " + id)}
}

// relaying runs a relay for each shard until the test ends.
func relaying(t *testing.T, s *postgres.Store, b brokers.Broker) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, shard := range s.Shards() {
		r, err := outbox.NewRelay(outbox.Config{Source: shard, Broker: b, Lease: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			_ = s.Listen(ctx) // a connection that was ended; relays poll meanwhile
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func newBroker(t *testing.T) *memory.Broker {
	t.Helper()
	b := memory.New(memory.Config{Partitions: 1})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// await waits until those ids are published, and returns all that are.
func await(t *testing.T, b *memory.Broker, ids ...string) (published []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := b.Server().Await(ctx, func() bool {
		published = nil
		for _, m := range b.Server().Messages("orders") {
			published = append(published, m.ID)
		}
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(published, id) })
	})
	if err != nil {
		t.Fatalf("published %q, want %q: %v", published, ids, err)
	}
	return published
}

// Scenario B23: a row that commits late is published, holds up nobody, and one that
// never comes is given up. A foreign transaction is open all the time.
func TestLateCommit(t *testing.T) {
	url := outboxtest.PostgresURL(t)
	s, b, ctx := open(t, url, postgres.Config{Unordered: true}), newBroker(t), t.Context()
	relaying(t, s, b)
	foreign, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Close(context.Background()) }() // nothing is under way
	if _, err := foreign.Exec(ctx, `BEGIN; SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	late, err := s.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, late, message("k", "a1")); err != nil {
		t.Fatal(err)
	}
	appendTo := func(messages ...brokers.Message) {
		t.Helper()
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, messages...) }); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(message("k", "b1"), message("z", "b2"))
	await(t, b, "b1", "b2")
	if err := late.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, b, "a1")
	errNo := errors.New("no")
	if err := s.InTx(ctx, func(tx pgx.Tx) error { return errors.Join(s.Append(ctx, tx, message("k", "no")), errNo) }); !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	appendTo(message("k", "c1"))
	if ids := await(t, b, "c1"); !slices.Equal(ids, []string{"b1", "b2", "a1", "c1"}) && !slices.Equal(ids, []string{"b2", "b1", "a1", "c1"}) {
		t.Errorf("published %q", ids)
	}
	drained(t, s)
	if lag, err := s.Shards()[0].Lag(ctx); err != nil || lag.Gaps != int64(openNumbers(t, s)) || lag.Rows != 0 {
		t.Errorf("lag %+v, %v; want to see the gap that was rolled back", lag, err)
	}
	// The foreign transaction may not be waited for: it is not one of those who write.
	// The place is stored with the next row that is published.
	limit := time.After(20 * time.Second)
	for i := 0; openNumbers(t, s) > 0; i++ {
		select {
		case <-limit:
			t.Fatal("the gap stays open")
		case <-time.After(50 * time.Millisecond):
		}
		id := fmt.Sprint("d", i)
		appendTo(message("k", id))
		await(t, b, id)
		drained(t, s)
	}
	if _, err := foreign.Exec(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
}

// A writer that takes long is waited for, though others have given up meanwhile, and
// what it has written is published.
func TestLongWriter(t *testing.T) {
	s, b, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{Unordered: true}), newBroker(t), t.Context()
	relaying(t, s, b)
	late, err := s.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, late, message("k", "late")); err != nil {
		t.Fatal(err)
	}
	for i, until := 0, time.After(2500*time.Millisecond); ; i++ { // it is looked for who writes every second
		id := fmt.Sprint(i)
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message("k", id)) }); err != nil {
			t.Fatal(err)
		}
		await(t, b, id)
		select {
		case <-until:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	if err := late.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, b, "late")
}

// drained waits until what was published is stored as done.
func drained(t *testing.T, s *postgres.Store) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(60 * time.Second)
	for {
		var rows int64
		for _, shard := range s.Shards() {
			lag, err := shard.Lag(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rows += lag.Rows
		}
		if rows == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d rows wait", rows)
		}
	}
}

// A row that has become visible behind the reader comes before its key's next one.
func TestLateBehindReader(t *testing.T) {
	s, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{}), t.Context()
	late, err := s.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, late, message("k", "k1")); err != nil {
		t.Fatal(err)
	}
	appendTo := func(messages ...brokers.Message) {
		t.Helper()
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, messages...) }); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(message("y", "y1"), message("z", "z1"))
	shard := s.Shards()[0]
	epoch, err := shard.Lease(ctx, "r", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	first, err := shard.Rows(ctx, 2)
	if err != nil || len(first) != 2 {
		t.Fatalf("read %+v, %v", first, err)
	}
	if err := shard.Done(ctx, epoch, []int64{first[0].Seq, first[1].Seq}); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	appendTo(message("k", "k2"))
	next, err := shard.Rows(ctx, 2)
	if err != nil || len(next) != 2 || next[0].Message.ID != "k1" || next[1].Message.ID != "k2" {
		t.Errorf("read %+v, %v; want k1 and k2", next, err)
	}
}

// What is put aside is no part of the place any more, which so stays small, and its
// table is dropped without it.
func TestAside(t *testing.T) {
	s, ctx := open(t, outboxtest.PostgresURL(t), postgres.Config{ClearAfter: 10}), t.Context()
	for i := range 12 {
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message("k", fmt.Sprint(i))) }); err != nil {
			t.Fatal(err)
		}
	}
	shard := s.Shards()[0]
	epoch, err := shard.Lease(ctx, "r", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := shard.Rows(ctx, 100)
	if err != nil || len(rows) != 12 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if err := shard.Park(ctx, epoch, rows[:11]); err != nil {
		t.Fatal(err)
	}
	if err := shard.Done(ctx, epoch, []int64{rows[11].Seq, rows[0].Seq}); err != nil {
		t.Fatal(err)
	}
	if n := openNumbers(t, s); n != 0 {
		t.Errorf("%d numbers are open", n)
	}
	var stored int
	if err := s.Pool().QueryRow(ctx, `SELECT count(*) FROM troupe_outbox`).Scan(&stored); err != nil || stored != 0 {
		t.Errorf("%d rows are stored, %v", stored, err)
	}
	aside, err := shard.Aside(ctx, rows[0].Lane, 5)
	if err != nil || len(aside) != 5 || aside[0].Message.ID != "1" || aside[4].Message.ID != "5" || aside[0].Lane != rows[0].Lane {
		t.Errorf("aside are %+v, %v", aside, err)
	}
	if lanes, err := shard.Lanes(ctx); err != nil || !slices.Equal(lanes, []int64{rows[0].Lane}) {
		t.Errorf("lanes %v, %v", lanes, err)
	}
	if err := shard.Park(ctx, epoch-1, aside); !errors.Is(err, outbox.ErrLeaseLost) {
		t.Errorf("an old epoch: %v", err)
	}
}

func openNumbers(t *testing.T, s *postgres.Store) (n int) {
	t.Helper()
	if err := s.Pool().QueryRow(t.Context(), `SELECT coalesce(sum(b - a + 1), 0) FROM troupe_relays, unnest(open_from, open_to) p (a, b)`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Many writers, of whom some change their minds, on three shards whose tables are
// cleared, with two processes' relays: what is committed is published, per key in
// the order of commits. The order is that of a counter of the key, which its
// transactions have increased.
func TestLoad(t *testing.T) {
	url, b := outboxtest.PostgresURL(t), newBroker(t)
	s := open(t, url, postgres.Config{Shards: 3, ClearAfter: 50})
	relaying(t, s, b)
	relaying(t, open(t, url, postgres.Config{Shards: 3, ClearAfter: 50}), b)
	keys, writers, each := 5, 8, 60
	if os.Getenv("CHAOS_LONG") != "" {
		keys, writers, each = 100, 30, 1000
	}
	if _, err := s.Pool().Exec(t.Context(), `CREATE TABLE counters (key integer PRIMARY KEY, n integer NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	errNo := errors.New("no")
	var mu sync.Mutex
	var committed []string
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				key, id := rand.IntN(keys), ""
				err := s.InTx(t.Context(), func(tx pgx.Tx) error {
					var n int
					err := tx.QueryRow(t.Context(), `INSERT INTO counters AS c VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = c.n + 1 RETURNING n`, key).Scan(&n)
					if err != nil {
						return err
					}
					id = fmt.Sprintf("%d/%d", key, n)
					if err := s.Append(t.Context(), tx, message(fmt.Sprint(key), id)); err != nil {
						return err
					}
					if rand.IntN(10) == 0 {
						return errNo
					}
					_, err = tx.Exec(t.Context(), `SELECT pg_sleep($1)`, rand.Float64()*0.01)
					return err
				})
				if err == nil {
					mu.Lock()
					committed = append(committed, id)
					mu.Unlock()
				} else if !errors.Is(err, errNo) {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	drained(t, s)
	published := await(t, b)
	last, known := make(map[int]int), make(map[string]bool)
	for _, id := range published {
		var key, n int
		if _, err := fmt.Sscanf(id, "%d/%d", &key, &n); err != nil {
			t.Fatal(err)
		}
		if !known[id] && n < last[key] {
			t.Errorf("key %d: %d after %d", key, n, last[key])
		}
		known[id], last[key] = true, n
	}
	if len(known) != len(committed) {
		t.Errorf("%d were published, %d committed", len(known), len(committed))
	}
}

// A part of the user's batch, without a transaction around it.
func TestQueue(t *testing.T) {
	s, b := open(t, outboxtest.PostgresURL(t), postgres.Config{}), newBroker(t)
	relaying(t, s, b)
	if _, err := s.Pool().Exec(t.Context(), `CREATE TABLE accounts (id integer PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	send := func(id string) error {
		batch := &pgx.Batch{}
		batch.Queue(`INSERT INTO accounts VALUES (1)`)
		if err := s.Queue(batch, message("k", id)); err != nil {
			t.Fatal(err)
		}
		return s.Pool().SendBatch(t.Context(), batch).Close()
	}
	if err := send("1"); err != nil {
		t.Fatal(err)
	}
	s.Wake()
	var refused *pgconn.PgError
	if err := send("2"); !errors.As(err, &refused) || refused.Code != "23505" {
		t.Errorf("the same account again: %v", err)
	}
	if err := s.InTx(t.Context(), func(tx pgx.Tx) error { return s.Append(t.Context(), tx, message("k", "3")) }); err != nil {
		t.Fatal(err)
	}
	if ids := await(t, b, "3"); !slices.Equal(ids, []string{"1", "3"}) {
		t.Errorf("published %q", ids)
	}
}

// A relay of another process is told of a commit before its next look.
func TestListen(t *testing.T) {
	url := outboxtest.PostgresURL(t)
	s, other, ctx := open(t, url, postgres.Config{}), open(t, url, postgres.Config{}), t.Context()
	listening, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- other.Listen(listening) }()
	limit := time.After(20 * time.Second)
	for told := false; !told; {
		if err := s.InTx(ctx, func(tx pgx.Tx) error { return s.Append(ctx, tx, message("k", "1")) }); err != nil {
			t.Fatal(err)
		}
		again := time.NewTimer(50 * time.Millisecond) // it may not have listened yet
		select {
		case <-other.Shards()[0].Woken():
			told = true
		case <-again.C:
		case <-limit:
			t.Fatal("it was not told")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
