package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-go/troupe/outbox"
)

var _ outbox.Source = (*Store)(nil)

// Lease implements outbox.Source.
func (s *Store) Lease(ctx context.Context, relay string, length time.Duration) (epoch int64, err error) {
	err = s.db.QueryRowContext(ctx, `UPDATE troupe_lease
		SET epoch = epoch + (relay <> ?1 OR until < `+now+`), relay = ?1, until = `+now+` + ?2
		WHERE relay = ?1 OR until < `+now+` RETURNING epoch`, relay, length.Milliseconds()).Scan(&epoch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, outbox.ErrLeaseLost
	case err != nil:
		return 0, fmt.Errorf("sqlite: lease: %w", err)
	}
	return epoch, nil
}

// Release implements outbox.Source.
func (s *Store) Release(ctx context.Context, epoch int64) error {
	_, err := s.db.ExecContext(ctx, `UPDATE troupe_lease SET until = 0 WHERE epoch = ?`, epoch)
	return err
}

// Rows implements outbox.Source.
func (s *Store) Rows(ctx context.Context, n int) ([]outbox.Row, error) {
	return s.read(ctx, `SELECT seq, lane, message, at, 0, NULL FROM troupe_outbox ORDER BY seq LIMIT ?`, n)
}

// Aside implements outbox.Source.
func (s *Store) Aside(ctx context.Context, lane int64, n int) ([]outbox.Row, error) {
	return s.read(ctx, `SELECT seq, lane, message, at, attempts, failed_at FROM troupe_aside WHERE lane = ? ORDER BY seq LIMIT ?`, lane, n)
}

func (s *Store) read(ctx context.Context, query string, args ...any) (found []outbox.Row, err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the outbox: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	// The targets are of all rows: those of each would be most of a read's garbage.
	var seq, at int64
	var lane, failed sql.NullInt64
	var attempts int
	var data []byte
	targets := []any{&seq, &lane, &data, &at, &attempts, &failed}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, fmt.Errorf("sqlite: read the outbox: %w", err)
		}
		var known *int64
		if lane.Valid {
			known = &lane.Int64
		}
		row := outbox.NewRow(seq, known, data, time.UnixMilli(at))
		if failed.Valid {
			row.Attempts, row.FailedAt = attempts, time.UnixMilli(failed.Int64)
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

// Lanes implements outbox.Source.
func (s *Store) Lanes(ctx context.Context) (lanes []int64, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT DISTINCT lane FROM troupe_aside`)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read what is aside: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var lane int64
		if err := rows.Scan(&lane); err != nil {
			return nil, fmt.Errorf("sqlite: read what is aside: %w", err)
		}
		lanes = append(lanes, lane)
	}
	return lanes, rows.Err()
}

// leading runs f in a transaction, if the epoch holds.
func (s *Store) leading(ctx context.Context, epoch int64, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	var holds bool
	if err := tx.QueryRowContext(ctx, `SELECT epoch = ? FROM troupe_lease`, epoch).Scan(&holds); err != nil {
		return fmt.Errorf("sqlite: lease: %w", err)
	}
	if !holds {
		return outbox.ErrLeaseLost
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Done implements outbox.Source.
func (s *Store) Done(ctx context.Context, epoch int64, seqs []int64) error {
	args := make([]any, len(seqs))
	for i, seq := range seqs {
		args[i] = seq
	}
	return s.leading(ctx, epoch, func(tx *sql.Tx) error {
		for _, table := range []string{"troupe_outbox", "troupe_aside"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE seq IN (`+places(len(seqs))+`)`, args...); err != nil {
				return fmt.Errorf("sqlite: clear the outbox: %w", err)
			}
		}
		return nil
	})
}

// Park implements outbox.Source.
func (s *Store) Park(ctx context.Context, epoch int64, rows []outbox.Row) error {
	return s.leading(ctx, epoch, func(tx *sql.Tx) error {
		for i := range rows {
			_, err := tx.ExecContext(ctx, `INSERT INTO troupe_aside (seq, lane, message, at) SELECT seq, ?, message, at FROM troupe_outbox WHERE seq = ?`,
				rows[i].Lane, rows[i].Seq)
			if err == nil {
				_, err = tx.ExecContext(ctx, `DELETE FROM troupe_outbox WHERE seq = ?`, rows[i].Seq)
			}
			if err == nil && rows[i].Attempts > 0 {
				_, err = tx.ExecContext(ctx, `UPDATE troupe_aside SET attempts = ?, failed_at = ? WHERE seq = ?`,
					rows[i].Attempts, rows[i].FailedAt.UnixMilli(), rows[i].Seq)
			}
			if err != nil {
				return fmt.Errorf("sqlite: put row %d aside: %w", rows[i].Seq, err)
			}
		}
		return nil
	})
}

// places are n question marks.
func places(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// exactly is up to how many rows the lag is counted.
const exactly = 100_000

// Lag implements outbox.Source.
func (s *Store) Lag(ctx context.Context) (outbox.Lag, error) {
	var l outbox.Lag
	var oldest, aside, oldestAside sql.NullInt64
	err := s.db.QueryRowContext(ctx, `SELECT count(*), (SELECT at FROM troupe_outbox ORDER BY seq LIMIT 1),
		(SELECT count(*) FROM troupe_aside), (SELECT at FROM troupe_aside ORDER BY seq LIMIT 1)
		FROM (SELECT 1 FROM troupe_outbox LIMIT ?)`, exactly).Scan(&l.Rows, &oldest, &aside, &oldestAside)
	if err == nil && l.Rows == exactly {
		err = s.db.QueryRowContext(ctx, `SELECT max(seq) - (SELECT min(seq) FROM troupe_outbox) + 1 FROM troupe_outbox`).Scan(&l.Rows)
	}
	if err != nil {
		return l, fmt.Errorf("sqlite: lag: %w", err)
	}
	l.Aside = aside.Int64
	l.Rows += l.Aside
	for _, at := range []sql.NullInt64{oldest, oldestAside} {
		if t := time.UnixMilli(at.Int64); at.Valid && (l.Oldest.IsZero() || t.Before(l.Oldest)) {
			l.Oldest = t
		}
	}
	return l, nil
}
