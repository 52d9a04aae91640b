package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrConfig is wrapped by errors of a [Config], which name the field.
var ErrConfig = errors.New("postgres: config")

// Config of a Store.
type Config struct {
	// Shards is how many parts the outbox has, each with a relay of its own; a key
	// is in one of them. It cannot be changed once the tables are made. Defaults
	// to 1.
	Shards int
	// Unordered appends without locking keys: transactions that overlap may have
	// their messages of one key published in another order than that of their
	// commits. It is for keys that nobody else writes at the time.
	Unordered bool
	// Route is the topic of messages of a type that have none: the type is the header
	// "ce_type" or "type". One that it has no topic for is refused. Defaults to none.
	Route func(messageType string) (topic string)
	// ClearAfter is how many rows of a shard are published before rows are written to
	// another segment of it, so that this one can be cleared. Defaults to 100,000.
	ClearAfter int
}

// Store is a database. All methods may be called concurrently.
type Store struct {
	cfg    Config
	pool   *pgxpool.Pool
	owned  bool // the pool
	shards []*Shard
	notify notifier
}

// Open connects to a database by its URL or DSN, and makes or updates the tables,
// in the first schema of the search_path. Close the store after use.
func Open(ctx context.Context, url string, cfg Config) (*Store, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("postgres: open: %w", err)
	}
	s, err := New(pool, cfg)
	if err == nil {
		err = s.Migrate(ctx)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// New is a store in a database that the caller has opened, and closes after the
// store. Its tables are to be there: call [Store.Migrate] before the first use, or
// apply [Migrations] and [Shards].
func New(pool *pgxpool.Pool, cfg Config) (*Store, error) {
	cfg.Shards = cmp.Or(cfg.Shards, 1)
	cfg.ClearAfter = cmp.Or(cfg.ClearAfter, 100_000)
	switch {
	case cfg.Shards < 0:
		return nil, fmt.Errorf("%w: Shards %d is negative", ErrConfig, cfg.Shards)
	case cfg.ClearAfter < 0:
		return nil, fmt.Errorf("%w: ClearAfter %d is negative", ErrConfig, cfg.ClearAfter)
	}
	s := &Store{cfg: cfg, pool: pool}
	for i := range cfg.Shards {
		s.shards = append(s.shards, newShard(s, i))
	}
	return s, nil
}

// Pool is the database, for the user's own tables.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Shards are the parts of the outbox. Run a relay for each, in as many processes as
// should be able to take over.
func (s *Store) Shards() []*Shard { return append([]*Shard(nil), s.shards...) }

// Close waits for what tells other processes of commits, and closes the database
// if Open has opened it.
func (s *Store) Close() error {
	s.notify.close()
	if s.owned {
		s.pool.Close()
	}
	return nil
}

// InTx runs f in a transaction, commits it, and wakes the relays, here and in other
// processes. If f returns an error, or panics, nothing is changed.
func (s *Store) InTx(ctx context.Context, f func(tx pgx.Tx) error) error {
	if err := pgx.BeginFunc(ctx, s.pool, f); err != nil {
		return err
	}
	s.Wake()
	return nil
}

// InSQLTx is [Store.InTx] for a pool of database/sql, as of pgx's stdlib package.
func (s *Store) InSQLTx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("postgres: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("postgres: commit: %w", err)
	}
	s.Wake()
	return nil
}

// Wake has relays look at once: those of this process, and within 5 ms those of
// others that [Store.Listen]. InTx does it; it is for transactions that are
// committed otherwise.
func (s *Store) Wake() {
	leading := true
	for _, shard := range s.shards {
		shard.wake()
		leading = leading && shard.leading()
	}
	if !leading { // else nobody else has anything to do
		s.notify.later(s.notifyOthers)
	}
}

// channel is that of LISTEN and NOTIFY. The payload is the schema.
const channel = "troupe_outbox"

func (s *Store) notifyOthers() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = s.pool.Exec(ctx, `SELECT pg_notify($1, current_schema())`, channel) // relays poll as well
}

// Listen wakes the relays of this process when another one has committed, until ctx
// ends, and then returns nil. It holds a connection of its own. An error is that of
// the connection: relays poll meanwhile, so it is enough to call it again.
func (s *Store) Listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return quiet(ctx, fmt.Errorf("postgres: listen: %w", err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is under way
	var schema string
	if err := conn.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return quiet(ctx, fmt.Errorf("postgres: listen: %w", err))
	}
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return quiet(ctx, fmt.Errorf("postgres: listen: %w", err))
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return quiet(ctx, fmt.Errorf("postgres: listen: %w", err))
		}
		if n.Payload == schema {
			for _, shard := range s.shards {
				shard.wake()
			}
		}
	}
}

// quiet is the error, unless ctx has ended: that is how it is stopped.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// notifier calls a function soon, once for all that asked for it meanwhile: a
// notification in each transaction would cost more than half of the writers' speed.
type notifier struct {
	mu     sync.Mutex
	due    bool
	closed bool
	calls  sync.WaitGroup
}

const notifyAfter = 5 * time.Millisecond

func (n *notifier) later(call func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.due || n.closed {
		return
	}
	n.due = true
	n.calls.Add(1)
	time.AfterFunc(notifyAfter, func() {
		defer n.calls.Done()
		n.mu.Lock()
		n.due = false
		n.mu.Unlock()
		call()
	})
}

func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.calls.Wait()
}
