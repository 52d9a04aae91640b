package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// keepAtMost is how many rows may have to be kept when a table is dropped: they are
// copied while writers wait.
const keepAtMost = 5000

// waiting are the rows that are not done with.
const waiting = `o.id > (SELECT hi FROM troupe_relays WHERE shard = $1) OR o.id = ANY((SELECT open FROM troupe_relays WHERE shard = $1)::bigint[])`

// clear drops the leaf's storage, with all that was published, and puts back what
// was not. Deleting rows one by one would leave the dead ones for each later read
// to step over. It returns false if that is not possible now: writers hold the
// table, or too many rows wait.
func (s *Shard) clear(ctx context.Context, epoch int64) (cleared bool, err error) {
	err = pgx.BeginFunc(ctx, s.store.pool, func(tx pgx.Tx) error {
		// Writers that come meanwhile wait for the lock, so it must not wait for long.
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '50ms'`); err != nil {
			return err
		}
		var few bool
		err := tx.QueryRow(ctx, `SELECT count(*) < $2 FROM (SELECT 1 FROM `+s.table+` o WHERE `+waiting+` LIMIT $2) w`, s.n, keepAtMost).Scan(&few)
		if err != nil || !few {
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE `+s.table+` IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		var holds bool
		err = tx.QueryRow(ctx, `SELECT epoch = $2 FROM troupe_relays WHERE shard = $1 FOR UPDATE`, s.n, epoch).Scan(&holds)
		if err != nil || !holds {
			return err
		}
		// What was committed while the lock was waited for is seen by this statement.
		if _, err := tx.Exec(ctx, `CREATE TEMPORARY TABLE troupe_kept ON COMMIT DROP AS SELECT o.* FROM `+s.table+` o WHERE `+waiting, s.n); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `TRUNCATE `+s.table+`; INSERT INTO `+s.table+` SELECT * FROM pg_temp.troupe_kept`)
		cleared = err == nil
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "55P03" { // lock_not_available
		return false, nil
	}
	return cleared && err == nil, err
}
