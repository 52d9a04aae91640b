package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/outbox"
)

// Park implements outbox.Source. Rows that wait for long would otherwise be looked
// for with each read, and keep their table from being dropped.
func (s *Shard) Park(ctx context.Context, epoch int64, rows []outbox.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, lanes := make([]int64, len(rows)), make([]int64, len(rows))
	for i := range rows {
		ids[i], lanes[i] = rows[i].Seq, rows[i].Lane
	}
	return s.pass(ctx, epoch, ids, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO troupe_aside (shard, id, lane, message, at) SELECT o.shard, o.id, p.lane, o.message, o.at
			FROM unnest($1::bigint[], $2::bigint[]) p (id, lane) JOIN `+s.table+` o ON o.id = p.id`, ids, lanes)
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

// Aside implements outbox.Source.
func (s *Shard) Aside(ctx context.Context, lane int64, n int) ([]outbox.Row, error) {
	rows, err := s.store.pool.Query(ctx, `SELECT id, message, at FROM troupe_aside WHERE shard = $1 AND lane = $2 ORDER BY id LIMIT $3`, s.n, lane, n)
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (outbox.Row, error) {
		var id int64
		var data []byte
		var at time.Time
		err := row.Scan(&id, &data, &at)
		return outbox.NewRow(id, &lane, data, at), err
	})
	if err != nil {
		return nil, s.fault("read what is aside", err)
	}
	return found, nil
}
