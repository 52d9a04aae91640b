package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *sqlite.Store {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "a file?.db"))
}

func openFile(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
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

func message(key, id string) brokers.Message {
	return brokers.Message{Topic: "orders", Key: []byte(key), ID: id, Payload: []byte("payload of " + id)}
}

func appendTo(t *testing.T, s *sqlite.Store, messages ...brokers.Message) {
	t.Helper()
	if err := s.InTx(t.Context(), func(tx *sql.Tx) error { return s.Append(t.Context(), tx, messages...) }); err != nil {
		t.Fatal(err)
	}
}

// relaying runs a relay until stop is called.
func relaying(t *testing.T, cfg outbox.Config) (stop func()) {
	t.Helper()
	r, err := outbox.NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func newBroker(t *testing.T) *memory.Broker {
	t.Helper()
	b := memory.New(memory.Config{Partitions: 1})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// await waits for a number of messages of a topic, and returns their ids.
func await(t *testing.T, b *memory.Broker, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Server().Await(ctx, func() bool { return len(b.Server().Messages(topic)) >= n }); err != nil {
		t.Fatalf("%d messages of %d in %q: %v", len(b.Server().Messages(topic)), n, topic, err)
	}
	var ids []string
	for _, m := range b.Server().Messages(topic) {
		ids = append(ids, m.ID)
	}
	return ids
}

// drained waits until nothing waits in the outbox.
func drained(t *testing.T, s *sqlite.Store) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		lag, err := s.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lag.Rows == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%+v wait", lag)
		}
	}
}

// What is committed is published as it was, in the order of commits, and what is
// rolled back is not.
func TestOutbox(t *testing.T) {
	s, b := open(t), newBroker(t)
	full := message("a", "1")
	full.Headers = brokers.Headers{{Key: "h", Value: []byte{0, 255}}, {Key: "h"}, {Key: "n", Value: []byte("7"), Kind: brokers.KindInt}}
	full.CorrelationID, full.ReplyTo, full.ContentType, full.Time = "c", "r", "text/plain", time.UnixMilli(1_700_000_000_000)
	appendTo(t, s, full, message("b", "2"))
	errNo := errors.New("no")
	err := s.InTx(t.Context(), func(tx *sql.Tx) error {
		return errors.Join(s.Append(t.Context(), tx, message("a", "rolled back")), errNo)
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	lag, err := s.Lag(t.Context())
	if err != nil || lag.Rows != 2 || time.Since(lag.Oldest) > time.Minute {
		t.Errorf("lag %+v, %v", lag, err)
	}
	stop := relaying(t, outbox.Config{Source: s, Broker: b})
	defer stop()
	await(t, b, "orders", 2)
	appendTo(t, s, message("a", "3"), message("a", "4"))
	if ids := await(t, b, "orders", 4); !slices.Equal(ids, []string{"1", "2", "3", "4"}) && !slices.Equal(ids, []string{"2", "1", "3", "4"}) {
		t.Errorf("published %q", ids)
	}
	drained(t, s)
	for _, m := range b.Server().Messages("orders") {
		if m.ID != "1" {
			continue
		}
		if string(m.Key) != "a" || string(m.Payload) != "payload of 1" || m.CorrelationID != "c" || m.ReplyTo != "r" ||
			m.ContentType != "text/plain" || !m.Time.Equal(full.Time) || fmt.Sprint(m.Headers) != fmt.Sprint(full.Headers) {
			t.Errorf("published %+v, want %+v", m, full)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	s := open(t)
	for name, test := range map[string]struct {
		message brokers.Message
		want    error
	}{
		"no id":    {brokers.Message{Topic: "orders"}, sqlite.ErrNoID},
		"no topic": {brokers.Message{ID: "1"}, brokers.ErrInvalid},
	} {
		err := s.InTx(t.Context(), func(tx *sql.Tx) error { return s.Append(t.Context(), tx, test.message) })
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// Many writers and two relays, one of which gives way: nothing is lost, nothing of
// a key is out of order, and nothing is published that was rolled back.
func TestOutboxUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	s, b := openFile(t, path), newBroker(t)
	const writers, each = 4, 100
	stop := relaying(t, outbox.Config{Source: s, Broker: b, Lease: time.Second, Batch: 16})
	other := relaying(t, outbox.Config{Source: openFile(t, path), Broker: b, Lease: time.Second, Batch: 16})
	defer other()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				err := s.InTx(t.Context(), func(tx *sql.Tx) error {
					err := s.Append(t.Context(), tx, message(fmt.Sprint(w), fmt.Sprintf("%d/%d", w, i)))
					if i%10 == 9 {
						return errors.Join(err, errors.New("changed my mind"))
					}
					return err
				})
				if (err != nil) != (i%10 == 9) {
					t.Errorf("commit: %v", err)
				}
				if w == 0 && i == each/2 {
					stop() // the other takes over
				}
			}
		})
	}
	writing.Wait()
	drained(t, s)
	last := make(map[string]int)
	published := make(map[string]bool)
	for _, m := range b.Server().Messages("orders") {
		var w, i int
		if _, err := fmt.Sscanf(m.ID, "%d/%d", &w, &i); err != nil {
			t.Fatal(err)
		}
		if !published[m.ID] && i < last[string(m.Key)] {
			t.Errorf("key %d: %d after %d", w, i, last[string(m.Key)])
		}
		if i%10 == 9 {
			t.Errorf("%s was rolled back, and published", m.ID)
		}
		published[m.ID], last[string(m.Key)] = true, i
	}
	if len(published) != writers*each*9/10 {
		t.Errorf("%d were published, want %d", len(published), writers*each*9/10)
	}
}

// A message that the broker refuses holds its key, and ends as a dead letter.
func TestPoison(t *testing.T) {
	s, b := open(t), newBroker(t)
	b.Server().OnPublish(func(m brokers.Message) error {
		if m.ID == "bad" && m.Topic == "orders" {
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "1"), message("a", "bad"), message("a", "3"), message("b", "4"))
	policy := supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(20 * time.Millisecond), DeadLetter: "dead"}
	stop := relaying(t, outbox.Config{Source: s, Broker: b, Policy: policy})
	defer stop()
	drained(t, s)
	ids := await(t, b, "orders", 3)
	if slices.Index(ids, "1") > slices.Index(ids, "3") || slices.Index(ids, "4") > slices.Index(ids, "3") {
		t.Errorf("published %q: 3 is to wait for the one before it, and 4 is not", ids)
	}
	letters := b.Server().Messages("dead")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	original, letter, err := supervision.Decode(&letters[0])
	if err != nil || original.ID != "bad" || letter.Attempts != 3 || !strings.Contains(letter.ErrorMessage, "large") {
		t.Errorf("letter %+v of %q, %v", letter, original.ID, err)
	}
}

// Without a dead-letter topic it stays, and holds nobody else.
func TestParked(t *testing.T) {
	s, b := open(t), newBroker(t)
	var mended sync.Map
	b.Server().OnPublish(func(m brokers.Message) error {
		if _, ok := mended.Load("yes"); m.ID == "bad" && !ok {
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "bad"), message("a", "2"), message("b", "3"))
	policy := supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(10 * time.Millisecond)}
	stop := relaying(t, outbox.Config{Source: s, Broker: b, Policy: policy})
	defer stop()
	if ids := await(t, b, "orders", 1); !slices.Equal(ids, []string{"3"}) {
		t.Errorf("published %q, want 3", ids)
	}
	mended.Store("yes", true)
	drained(t, s)
	if ids := await(t, b, "orders", 3); !slices.Equal(ids, []string{"3", "bad", "2"}) {
		t.Errorf("published %q", ids)
	}
}

// Scenario B25: two consumers of one message each handle it once, together with
// what they do; a failed attempt leaves nothing.
func TestInbox(t *testing.T) {
	s := open(t)
	if _, err := s.DB().ExecContext(t.Context(), `CREATE TABLE sums (consumer TEXT PRIMARY KEY, sum INTEGER)`); err != nil {
		t.Fatal(err)
	}
	errFlaky := errors.New("flaky")
	handle := func(consumer string, fail bool) error {
		return s.InTx(t.Context(), func(tx *sql.Tx) error {
			before, err := s.Seen(t.Context(), tx, consumer, "m-1")
			if err != nil || before {
				return err
			}
			_, err = tx.ExecContext(t.Context(), `INSERT INTO sums VALUES (?, 5) ON CONFLICT DO UPDATE SET sum = sum + 5`, consumer)
			err = errors.Join(err, s.Append(t.Context(), tx, message("k", "m-1>"+consumer)))
			if fail {
				return errors.Join(err, errFlaky)
			}
			return err
		})
	}
	if err := handle("audit", true); !errors.Is(err, errFlaky) {
		t.Fatal(err)
	}
	var deliveries sync.WaitGroup
	for range 4 {
		for _, consumer := range []string{"billing", "audit"} {
			deliveries.Go(func() {
				if err := handle(consumer, false); err != nil {
					t.Error(err)
				}
			})
		}
	}
	deliveries.Wait()
	for _, consumer := range []string{"billing", "audit"} {
		var sum int
		if err := s.DB().QueryRowContext(t.Context(), `SELECT sum FROM sums WHERE consumer = ?`, consumer).Scan(&sum); err != nil || sum != 5 {
			t.Errorf("%s has %d, %v; want 5", consumer, sum, err)
		}
	}
	rows, err := s.Rows(t.Context(), 0, 100)
	if err != nil || len(rows) != 2 {
		t.Errorf("%d messages wait, %v; want one of each", len(rows), err)
	}
	err = s.InTx(t.Context(), func(tx *sql.Tx) error { _, err := s.Seen(t.Context(), tx, "billing", ""); return err })
	if !errors.Is(err, sqlite.ErrNoID) {
		t.Errorf("no id: %v", err)
	}
	forgotten, err := s.Prune(t.Context(), time.Now().Add(time.Minute))
	if err != nil || forgotten != 2 {
		t.Errorf("pruned %d, %v", forgotten, err)
	}
}

// What a store of durable actors promises.
func TestStates(t *testing.T) {
	s, ctx := open(t), t.Context()
	scope := durable.Scope{Group: "g", Topic: "t", Partition: 3}
	old, err := s.Acquire(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Acquire(ctx, scope)
	if err != nil || token <= old {
		t.Fatalf("token %d after %d, %v", token, old, err)
	}
	unit := durable.Unit{Scope: scope, Token: token, Key: "k\xff", Version: 2, State: []byte("one"), Handled: []string{"1", "2"}, Messages: []brokers.Message{message("k", "out")}}
	if err := s.Commit(ctx, []durable.Unit{unit}); err != nil {
		t.Fatal(err)
	}
	record, err := s.Load(ctx, scope, "k\xff")
	if err != nil || record.Revision != 1 || record.Version != 2 || string(record.State) != "one" {
		t.Errorf("loaded %+v, %v", record, err)
	}
	next := func(change func(*durable.Unit)) error {
		u := durable.Unit{Scope: scope, Token: token, Key: "k\xff", Revision: 1, Version: 2, State: []byte("two"), Handled: []string{"3"}}
		change(&u)
		return s.Commit(ctx, []durable.Unit{u})
	}
	var fenced *durable.FencedError
	if err := next(func(u *durable.Unit) { u.Token = old }); !errors.As(err, &fenced) || fenced.Scope != scope {
		t.Errorf("an old token: %v", err)
	}
	var repeated *durable.DuplicateError
	if err := next(func(u *durable.Unit) { u.Handled = []string{"3", "2"} }); !errors.As(err, &repeated) || !slices.Equal(repeated.IDs, []string{"2"}) {
		t.Errorf("a repeat: %v", err)
	}
	for _, revision := range []uint64{0, 2} {
		if err := next(func(u *durable.Unit) { u.Revision = revision }); !errors.Is(err, durable.ErrConflict) {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
	if err := next(func(*durable.Unit) {}); err != nil {
		t.Fatal(err)
	}
	record, err = s.Load(ctx, scope, "k\xff")
	if err != nil || record.Revision != 2 || string(record.State) != "two" {
		t.Errorf("loaded %+v, %v", record, err)
	}
	if rows, err := s.Rows(ctx, 0, 10); err != nil || len(rows) != 1 || rows[0].Message.ID != "out" {
		t.Errorf("outbox %+v, %v", rows, err)
	}
	if err := s.Commit(ctx, nil); err != nil {
		t.Error(err)
	}
	if record, err := s.Load(ctx, scope, "other"); err != nil || record.Revision != 0 {
		t.Errorf("loaded %+v, %v", record, err)
	}
}

// Migrations are applied once, and newer tables are not touched.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	s := openFile(t, path)
	appendTo(t, s, message("k", "1"))
	again := openFile(t, path)
	if lag, err := again.Lag(t.Context()); err != nil || lag.Rows != 1 {
		t.Errorf("lag %+v, %v", lag, err)
	}
	if _, err := s.DB().ExecContext(t.Context(), `UPDATE troupe_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("newer tables: %v", err)
	}
	if len(sqlite.Migrations()) != 1 {
		t.Errorf("%d migrations", len(sqlite.Migrations()))
	}
}
