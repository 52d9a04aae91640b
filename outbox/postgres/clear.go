package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// segments is how many tables a shard has. Rows are written to one of them, the
// others are emptied; more than two, as a transaction that stays open, or a backup
// that reads, keeps one as it is.
const segments = 4

// doneSQL says whether no row of a segment waits.
const doneSQL = `SELECT NOT EXISTS (SELECT 1 FROM %[1]s o WHERE o.id > r.hi) AND NOT EXISTS (SELECT 1
	FROM unnest(r.open_from, r.open_to) p (a, b), LATERAL (SELECT 1 FROM %[1]s o WHERE o.id BETWEEN p.a AND p.b LIMIT 1) o)
	FROM troupe_relays r WHERE r.shard = $1`

func (s *Shard) segment(n int) string { return fmt.Sprintf("%s_%d", s.table, n) }

// clearAt clears the shard if there is enough to clear.
func (s *Shard) clearAt(ctx context.Context, epoch int64) error {
	if s.done < s.clearsAt {
		return nil
	}
	enough := s.store.cfg.ClearAfter
	turn := s.done >= enough
	all, err := s.clear(ctx, epoch, turn)
	if err != nil {
		return s.fault("clear the outbox", err)
	}
	if turn {
		s.done = 0
	}
	s.clearsAt = enough
	if !all { // try again before long
		s.clearsAt = min(s.done+max(enough/4, 1), enough)
	}
	return nil
}

// clear drops the storage of the segments where nothing waits. Deleting rows one by
// one would leave the dead ones for each later read to step over. On turn it has rows
// written to another segment first, from now on. It returns false if one that rows
// are not written to is left as it is.
func (s *Shard) clear(ctx context.Context, epoch int64, turn bool) (all bool, err error) {
	sizes, current, err := s.storage(ctx)
	if err != nil {
		return false, err
	}
	if next := smallest(sizes); turn && sizes[next] < sizes[current]/2 {
		// It is at once, for all, and is not undone with a transaction.
		if _, err := s.store.pool.Exec(ctx, `SELECT setval($1::text::regclass, $2)`, s.writeTo, next); err != nil {
			return false, err
		}
		current = next
	}
	all = true
	for n, size := range sizes {
		if n == current || size == 0 {
			continue
		}
		dropped, err := s.drop(ctx, epoch, n)
		if err != nil {
			return false, err
		}
		all = all && dropped
	}
	return all, nil
}

// smallest is the one that is best to write to: an empty one, if there is one. One
// that is not empty may be written to again before what waits in it is published, but
// such turns become rare, as the size doubles with each.
func smallest(sizes []int64) (n int) {
	for i := range sizes {
		if sizes[i] < sizes[n] {
			n = i
		}
	}
	return n
}

// storage is how large the segments are, in bytes, and which one rows are written to.
func (s *Shard) storage(ctx context.Context) (sizes []int64, current int, err error) {
	err = s.store.pool.QueryRow(ctx, `SELECT array_agg(pg_relation_size(($1::text || '_' || n)::regclass) ORDER BY n),
		(SELECT last_value FROM `+s.writeTo+`) FROM generate_series(0, $2 - 1) n`, s.table, segments).Scan(&sizes, &current)
	return sizes, current, err
}

// drop drops the storage of a segment, unless rows of it wait, or somebody uses it:
// writers that come meanwhile would wait behind who waits for them.
func (s *Shard) drop(ctx context.Context, epoch int64, n int) (dropped bool, err error) {
	segment := s.segment(n)
	err = pgx.BeginFunc(ctx, s.store.pool, func(tx pgx.Tx) error {
		var can bool
		err := tx.QueryRow(ctx, `SELECT epoch = $2 FROM troupe_relays WHERE shard = $1 FOR UPDATE`, s.n, epoch).Scan(&can)
		if err != nil || !can {
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE `+segment+` IN ACCESS EXCLUSIVE MODE NOWAIT`); err != nil {
			return err
		}
		// What was committed before the lock is seen by this statement.
		err = tx.QueryRow(ctx, fmt.Sprintf(doneSQL, segment), s.n).Scan(&can)
		if err != nil || !can {
			return err
		}
		_, err = tx.Exec(ctx, `TRUNCATE `+segment)
		dropped = err == nil
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "55P03" { // lock_not_available
		return false, nil
	}
	return dropped && err == nil, err
}
