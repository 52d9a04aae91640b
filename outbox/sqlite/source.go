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
func (s *Store) Rows(ctx context.Context, after int64, n int) (found []outbox.Row, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT seq, message, at FROM troupe_outbox WHERE seq > ? ORDER BY seq LIMIT ?`, after, n)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the outbox: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var row outbox.Row
		var data []byte
		var at int64
		if err := rows.Scan(&row.Seq, &data, &at); err != nil {
			return nil, fmt.Errorf("sqlite: read the outbox: %w", err)
		}
		if row.Message, err = outbox.Decode(data); err != nil {
			return nil, fmt.Errorf("sqlite: outbox row %d: %w", row.Seq, err)
		}
		row.At = time.UnixMilli(at)
		found = append(found, row)
	}
	return found, rows.Err()
}

// Done implements outbox.Source.
func (s *Store) Done(ctx context.Context, epoch int64, seqs []int64) error {
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
	args := make([]any, len(seqs))
	for i, seq := range seqs {
		args[i] = seq
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM troupe_outbox WHERE seq IN (`+places(len(seqs))+`)`, args...); err != nil {
		return fmt.Errorf("sqlite: clear the outbox: %w", err)
	}
	return tx.Commit()
}

// places are n question marks.
func places(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// Lag implements outbox.Source.
func (s *Store) Lag(ctx context.Context) (outbox.Lag, error) {
	var l outbox.Lag
	var oldest sql.NullInt64
	err := s.db.QueryRowContext(ctx, `SELECT count(*), min(at) FROM troupe_outbox`).Scan(&l.Rows, &oldest)
	if err != nil {
		return l, fmt.Errorf("sqlite: lag: %w", err)
	}
	if oldest.Valid {
		l.Oldest = time.UnixMilli(oldest.Int64)
	}
	return l, nil
}
