package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/outbox"
)

const (
	seenSQL   = `INSERT INTO troupe_inbox (consumer, id) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	seenAtSQL = `INSERT INTO troupe_offsets (consumer, source, part, last) VALUES ($1, $2, $3, $4)
		ON CONFLICT (consumer, source, part) DO UPDATE SET last = excluded.last WHERE troupe_offsets.last < excluded.last`
)

// Seen records that a consumer has handled a message, in the transaction of what
// the handling changes. It returns true if it had been recorded before: then the
// transaction should change nothing. It waits for a transaction that has recorded
// the same. The error for a message without an id is [outbox.ErrNoID].
func (s *Store) Seen(ctx context.Context, tx pgx.Tx, consumer, id string) (before bool, err error) {
	if id == "" {
		return false, outbox.ErrNoID
	}
	tag, err := tx.Exec(ctx, seenSQL, consumer, []byte(id))
	if err != nil {
		return false, fmt.Errorf("postgres: inbox of %q: %w", consumer, err)
	}
	return tag.RowsAffected() == 0, nil
}

// SeenSQL is [Store.Seen] in a transaction of database/sql.
func (s *Store) SeenSQL(ctx context.Context, tx *sql.Tx, consumer, id string) (before bool, err error) {
	if id == "" {
		return false, outbox.ErrNoID
	}
	result, err := tx.ExecContext(ctx, seenSQL, consumer, []byte(id))
	if err != nil {
		return false, fmt.Errorf("postgres: inbox of %q: %w", consumer, err)
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// SeenAt is [Store.Seen] for a source whose messages come in the order of their
// offsets, each partition to one handler at a time: it keeps one row for each
// partition, and nothing needs to be pruned. An offset below one that was seen
// counts as seen.
func (s *Store) SeenAt(ctx context.Context, tx pgx.Tx, consumer, source string, partition int32, offset int64) (before bool, err error) {
	tag, err := tx.Exec(ctx, seenAtSQL, consumer, source, partition, offset)
	if err != nil {
		return false, fmt.Errorf("postgres: offset of %q in %q/%d: %w", consumer, source, partition, err)
	}
	return tag.RowsAffected() == 0, nil
}

// SeenAtSQL is [Store.SeenAt] in a transaction of database/sql.
func (s *Store) SeenAtSQL(ctx context.Context, tx *sql.Tx, consumer, source string, partition int32, offset int64) (before bool, err error) {
	result, err := tx.ExecContext(ctx, seenAtSQL, consumer, source, partition, offset)
	if err != nil {
		return false, fmt.Errorf("postgres: offset of %q in %q/%d: %w", consumer, source, partition, err)
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// pruned is how many records one transaction forgets.
const pruned = 10_000

// Prune forgets what the inbox has recorded before that time. A message that comes
// again after that is handled again. [outbox.Retention] calls it.
func (s *Store) Prune(ctx context.Context, before time.Time) (forgotten int64, err error) {
	for {
		tag, err := s.pool.Exec(ctx, `DELETE FROM troupe_inbox WHERE ctid = ANY(ARRAY(
			SELECT ctid FROM troupe_inbox WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))`, before, pruned)
		if err != nil {
			return forgotten, fmt.Errorf("postgres: prune the inbox: %w", err)
		}
		forgotten += tag.RowsAffected()
		if tag.RowsAffected() < pruned {
			return forgotten, nil
		}
	}
}
