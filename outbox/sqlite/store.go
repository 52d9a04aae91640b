package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

// Config of a Store. The zero value is a sound one.
type Config struct {
	// Route is the topic of messages of a type that have none: the type is the header
	// "ce_type" or "type". One that it has no topic for is refused. Defaults to none.
	Route func(messageType string) (topic string)
}

// Store is a database. All methods may be called concurrently.
type Store struct {
	cfg   Config
	db    *sql.DB
	woken chan struct{}
}

// Open opens the database of a file, and makes or updates the tables. It uses a
// write-ahead log, waits up to 10 s for other writers, and writes to the disk with
// each commit.
func Open(ctx context.Context, path string, cfg Config) (*Store, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	s := New(db, cfg)
	if err := s.Migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %q: %w", path, err), db.Close())
	}
	return s, nil
}

// New is a store in a database that the caller has opened, as Open does it, and
// closes. Call [Store.Migrate] before the first use.
func New(db *sql.DB, cfg Config) *Store {
	return &Store{cfg: cfg, db: db, woken: make(chan struct{}, 1)}
}

// DB is the database, for the user's own tables.
func (s *Store) DB() *sql.DB { return s.db }

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// InTx runs f in a transaction, commits it, and wakes the relay of this process.
// If f returns an error, or panics, nothing is changed.
func (s *Store) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	s.Wake()
	return nil
}

// Wake has the relay of this process look at once. InTx does it; it is for
// transactions that are committed otherwise.
func (s *Store) Wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Woken implements outbox.Source.
func (s *Store) Woken() <-chan struct{} { return s.woken }

// Append stores messages in the transaction, to be published after its commit.
// Each needs a topic, or a type that [Config.Route] has one for, and an id
// ([outbox.ErrNoID]) by which consumers know a repeat.
func (s *Store) Append(ctx context.Context, tx *sql.Tx, messages ...brokers.Message) error {
	for i := range messages {
		e, err := outbox.NewEntry(messages[i], s.cfg.Route)
		if err != nil {
			return fmt.Errorf("sqlite: append message %d: %w", i, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO troupe_outbox (lane, message, at) VALUES (?, ?, `+now+`)`, int64(e.Lane), e.Data); err != nil {
			return fmt.Errorf("sqlite: append message %q: %w", messages[i].ID, err)
		}
	}
	return nil
}
