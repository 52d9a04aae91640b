package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/outbox"
)

// Seen records that a consumer has handled a message, in the transaction of what
// the handling changes. It returns true if it had been recorded before: then the
// transaction should change nothing.
func (s *Store) Seen(ctx context.Context, tx *sql.Tx, consumer, id string) (before bool, err error) {
	if id == "" {
		return false, outbox.ErrNoID
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO troupe_inbox (consumer, id, at) VALUES (?, ?, `+now+`) ON CONFLICT DO NOTHING`, consumer, id)
	if err != nil {
		return false, fmt.Errorf("sqlite: inbox of %q: %w", consumer, err)
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// SeenAt is [Store.Seen] for a source whose messages come in the order of their
// offsets, each partition to one handler at a time: it keeps one row for each
// partition, and nothing needs to be pruned. An offset below one that was seen
// counts as seen.
func (s *Store) SeenAt(ctx context.Context, tx *sql.Tx, consumer, source string, partition int32, offset int64) (before bool, err error) {
	result, err := tx.ExecContext(ctx, `INSERT INTO troupe_offsets (consumer, source, part, last) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET last = excluded.last WHERE last < excluded.last`, consumer, source, partition, offset)
	if err != nil {
		return false, fmt.Errorf("sqlite: offset of %q in %q/%d: %w", consumer, source, partition, err)
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// pruned is how many records one transaction forgets, so that writers wait no
// longer than for any other.
const pruned = 5000

// Prune forgets what the inbox has recorded before that time. A message that comes
// again after that is handled again. [outbox.Retention] calls it.
func (s *Store) Prune(ctx context.Context, before time.Time) (forgotten int64, err error) {
	for {
		result, err := s.db.ExecContext(ctx, `DELETE FROM troupe_inbox WHERE (consumer, id) IN (
			SELECT consumer, id FROM troupe_inbox WHERE at < ? ORDER BY at LIMIT ?)`, before.UnixMilli(), pruned)
		if err != nil {
			return forgotten, fmt.Errorf("sqlite: prune the inbox: %w", err)
		}
		n, err := result.RowsAffected()
		forgotten += n
		if err != nil || n < pruned {
			return forgotten, err
		}
	}
}
