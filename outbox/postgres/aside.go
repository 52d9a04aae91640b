package postgres

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/troupe-go/troupe/outbox"
)

// Park implements outbox.Source. Rows that wait for long would otherwise be looked
// for with each read, and keep their segment from being cleared.
func (s *Shard) Park(ctx context.Context, epoch int64, rows []outbox.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []int64 // not aside yet
	ids, lanes := make([]int64, len(rows)), make([]int64, len(rows))
	attempts, failed := make([]int32, len(rows)), make([]pgtype.Timestamptz, len(rows))
	for i := range rows {
		ids[i], lanes[i] = rows[i].Seq, rows[i].Lane
		attempts[i], failed[i] = int32(min(rows[i].Attempts, math.MaxInt32)), pgtype.Timestamptz{Time: rows[i].FailedAt, Valid: rows[i].Attempts > 0}
	}
	aside := s.cursor.beyond(ids)
	for _, id := range ids {
		if !slices.Contains(aside, id) {
			fresh = append(fresh, id)
		}
	}
	return s.pass(ctx, epoch, fresh, func(tx pgx.Tx) error {
		// What is aside may still be in the outbox too, until that is cleared.
		_, err := tx.Exec(ctx, `INSERT INTO troupe_aside (shard, id, lane, message, at, attempts, failed_at)
			SELECT o.shard, o.id, p.lane, o.message, o.at, p.attempts, p.failed_at
			FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::timestamptz[]) p (id, lane, attempts, failed_at)
			JOIN `+s.table+` o ON o.id = p.id WHERE p.id = ANY($5::bigint[])`, ids, lanes, attempts, failed, fresh)
		if err == nil && len(aside) > 0 {
			_, err = tx.Exec(ctx, `UPDATE troupe_aside a SET attempts = p.attempts, failed_at = p.failed_at
				FROM unnest($2::bigint[], $3::integer[], $4::timestamptz[]) p (id, attempts, failed_at)
				WHERE a.shard = $1 AND a.id = p.id AND p.id = ANY($5::bigint[])`, s.n, ids, attempts, failed, aside)
		}
		return err
	})
}

// Lanes implements outbox.Source.
func (s *Shard) Lanes(ctx context.Context) ([]int64, error) {
	rows, err := s.store.pool.Query(ctx, `SELECT DISTINCT lane FROM troupe_aside WHERE shard = $1`, s.n)
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	lanes, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	return lanes, nil
}

// Aside implements outbox.Source. It may come before Rows, and needs the place as well:
// what becomes of the rows is stored if that is where it was when they were read.
func (s *Shard) Aside(ctx context.Context, lane int64, n int) ([]outbox.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return nil, s.fault("read the place", err)
	}
	rows, err := s.store.pool.Query(ctx, `SELECT id, message, at, attempts, failed_at FROM troupe_aside WHERE shard = $1 AND lane = $2 ORDER BY id LIMIT $3`, s.n, lane, n)
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (outbox.Row, error) {
		var id int64
		var attempts int
		var data []byte
		var at time.Time
		var failed pgtype.Timestamptz
		err := row.Scan(&id, &data, &at, &attempts, &failed)
		found := outbox.NewRow(id, &lane, data, at)
		found.Attempts, found.FailedAt = attempts, failed.Time
		return found, err
	})
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	return found, nil
}
