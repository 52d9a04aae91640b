package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// lookEvery is how often it is looked who writes, while there are gaps.
const lookEvery = time.Second

// fence finds out until when the gaps may be filled: until all transactions have ended
// that are older than one which begins now. A transaction that has nothing to do with
// the outbox, or with the database, may be open for hours and is among those; so who
// writes is looked for as well, but seldom, as that is dear.
func (s *Shard) fence(ctx context.Context) error {
	some, unfenced := s.cursor.gaps()
	if !some {
		s.looked = time.Now()
		return nil
	}
	if unfenced {
		var xid int64
		if err := s.store.pool.QueryRow(ctx, `SELECT pg_current_xact_id()::text::bigint`).Scan(&xid); err != nil {
			return err
		}
		s.cursor.fence(xid)
	}
	if time.Since(s.looked) < lookEvery {
		return nil
	}
	writers, err := s.writers(ctx)
	if err != nil {
		return err
	}
	s.cursor.writing(writers)
	s.looked = time.Now()
	return nil
}

// writers are the transactions that hold the lock which an INSERT into the outbox
// takes before it takes a number, and releases after the transaction's end is visible
// to all.
func (s *Shard) writers(ctx context.Context) (map[string]bool, error) {
	rows, err := s.store.pool.Query(ctx, `SELECT CASE WHEN pid IS NULL THEN $1 ELSE virtualtransaction END FROM pg_locks
		WHERE locktype = 'relation' AND relation = 'troupe_outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, prepared)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	writers := make(map[string]bool, len(names))
	for _, name := range names {
		writers[name] = true
	}
	return writers, nil
}
