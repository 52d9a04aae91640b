package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

func (d *database) message(i int) brokers.Message {
	return brokers.Message{Topic: "orders", ID: uuid.NewString(), Key: d.keys[i%len(d.keys)], Payload: d.body}
}

const updateAccount = `UPDATE accounts SET total = total + 1 WHERE id = $1`

// change is a transaction of one update, in one round trip, and with a message in
// the same.
func (d *database) change(i int, appends bool) error {
	b := &pgx.Batch{}
	b.Queue(updateAccount, i%rowKeys)
	if appends {
		if err := d.store.Queue(b, d.message(i)); err != nil {
			return err
		}
	}
	return d.pool.SendBatch(context.Background(), b).Close()
}

func (d *database) appendTable(o *options) (table, error) {
	n := o.messages(20_000)
	const bare = "a transaction of one update"
	at := func(goroutines int, appends bool) prepare {
		return func(n int) (run, clean func() error, err error) {
			var i atomic.Int64
			run = func() error {
				return together(goroutines, n, func() error { return d.change(int(i.Add(1)), appends) })
			}
			return run, d.clear, nil
		}
	}
	t, err := o.compete(fmt.Sprintf("Append to the outbox, PostgreSQL, %d bytes, by pgx.Batch", rowSize), []contender{
		{bare, "", n / 4, at(1, false)},
		{"with a message", bare, n / 4, at(1, true)},
		{bare + fmt.Sprintf(", %d at once", connections), "", n, at(connections, false)},
		{fmt.Sprintf("with a message, %d at once", connections), bare + fmt.Sprintf(", %d at once", connections), n, at(connections, true)},
	})
	if err != nil {
		return table{}, err
	}
	note, err := paired(o.messages(10_000), d.change)
	if err != nil {
		return table{}, err
	}
	t.Notes = append(t.Notes, note)
	return t, d.clear()
}

// clear empties what was appended, as no relay runs.
func (d *database) clear() error {
	_, err := d.pool.Exec(context.Background(), "TRUNCATE troupe_outbox")
	return err
}

// paired has each transaction made without and with the message, one after the
// other, in random order, and compares the medians.
func paired(n int, change func(i int, appends bool) error) (note string, err error) {
	var took [2][]time.Duration
	for i := range n {
		first := rand.N(2) == 1
		for _, appends := range []bool{first, !first} {
			began := time.Now()
			if err := change(i, appends); err != nil {
				return "", err
			}
			at := 0
			if appends {
				at = 1
			}
			took[at] = append(took[at], time.Since(began))
		}
	}
	bare, with := percentile(took[0], 50), percentile(took[1], 50)
	return fmt.Sprintf("in %d pairs, one at a time, the median of a transaction is %v without and %v with the message: %+.0f %%",
		n, bare.Round(time.Microsecond), with.Round(time.Microsecond), 100*(float64(with)/float64(bare)-1)), nil
}

// percentile sorts what it is given.
func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}

// lite is a SQLite database in a directory of its own.
type lite struct {
	store *sqlite.Store
	db    *database // for its messages
}

// onSQLite has tables made there.
func onSQLite(tables ...func(*lite, *options) (table, error)) func(*options) ([]table, error) {
	return func(o *options) (made []table, err error) {
		dir, err := os.MkdirTemp("", "peers")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		ctx := context.Background()
		l := &lite{db: &database{body: noise(rowSize), keys: keysNamed(rowKeys)}}
		if l.store, err = sqlite.Open(ctx, filepath.Join(dir, "peers.db"), sqlite.Config{}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.store.Close()) }()
		_, err = l.store.DB().ExecContext(ctx, `CREATE TABLE accounts (id INTEGER PRIMARY KEY, total INTEGER NOT NULL);
			WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) INSERT INTO accounts SELECT i, 0 FROM n`)
		if err != nil {
			return nil, err
		}
		for _, run := range tables {
			t, err := run(l, o)
			if err != nil {
				return nil, err
			}
			made = append(made, t)
		}
		return made, nil
	}
}

func (l *lite) change(i int, appends bool) error {
	ctx := context.Background()
	return l.store.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, updateAccount, i%rowKeys); err != nil || !appends {
			return err
		}
		return l.store.Append(ctx, tx, l.db.message(i))
	})
}

func (l *lite) appendTable(o *options) (table, error) {
	note, err := paired(o.messages(5000), l.change)
	return table{Title: fmt.Sprintf("Append to the outbox, SQLite, %d bytes", rowSize), Notes: []string{note}}, err
}
