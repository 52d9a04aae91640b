package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

// appendSQL locks the keys, in the order given, and then numbers the rows: the
// locks are counted before the sorted rows are given their numbers.
const appendSQL = `WITH locks AS MATERIALIZED (SELECT pg_advisory_xact_lock(k) FROM unnest($1::bigint[]) k)
	INSERT INTO troupe_outbox (xid, shard, id, lane, message, segment)
	SELECT pg_current_xact_id(), r.shard, nextval(('troupe_outbox_seq_' || r.shard)::regclass), r.lane, r.message,
		coalesce(pg_sequence_last_value(('troupe_outbox_segment_' || r.shard)::regclass), 0) FROM (
		SELECT m.shard, m.lane, m.message FROM (SELECT count(*) AS n FROM locks) l,
			unnest($2::integer[], $3::bigint[], $4::bytea[]) WITH ORDINALITY m (shard, lane, message, n) WHERE l.n >= 0 ORDER BY m.n OFFSET 0
	) r`

// appendOneSQL is appendSQL for a message of that shard, as most transactions have
// one, for which it is much to plan and to run. With a key, the shard is given by
// lockSQL: values are made in the order of the table's columns, so the lock is taken
// before the number.
const (
	appendOneSQL = `INSERT INTO troupe_outbox (xid, shard, id, lane, message, segment) VALUES (pg_current_xact_id(), %[2]s,
		nextval('troupe_outbox_seq_%[1]d'), $1::bigint, $2::bytea, coalesce(pg_sequence_last_value('troupe_outbox_segment_%[1]d'), 0))`
	lockSQL = `CASE WHEN pg_advisory_xact_lock($1) IS NULL THEN %[1]d ELSE %[1]d END`
)

// appending is a statement and its arguments.
func (s *Store) appending(messages []brokers.Message) (query string, args []any, err error) {
	if len(messages) != 1 {
		args, err = s.args(messages)
		return appendSQL, args, err
	}
	e, err := outbox.NewEntry(messages[0], s.cfg.Route)
	if err != nil {
		return "", nil, fmt.Errorf("postgres: append: %w", err)
	}
	shard := s.shards[e.Lane%uint64(len(s.shards))]
	args = []any{int64(e.Lane), e.Data}
	if e.Keyed && !s.cfg.Unordered {
		return shard.appendKeyed, args, nil
	}
	return shard.append, args, nil
}

// Append stores messages in the transaction, to be published after its commit, in
// one round trip. Each needs a topic, or a type that [Config.Route] has one for, and
// an id ([outbox.ErrNoID]) by which consumers know a repeat. It waits for transactions that have appended to the same
// keys; see the package comment on deadlocks.
func (s *Store) Append(ctx context.Context, tx pgx.Tx, messages ...brokers.Message) error {
	query, args, err := s.appending(messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, query, args...); err != nil {
		return fmt.Errorf("postgres: append: %w", err)
	}
	return nil
}

// Queue is [Store.Append] as a part of a batch, which needs no round trip of its
// own. A batch that is not sent in a transaction is one.
func (s *Store) Queue(batch *pgx.Batch, messages ...brokers.Message) error {
	query, args, err := s.appending(messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	batch.Queue(query, args...)
	return nil
}

// AppendSQL is [Store.Append] in a transaction of database/sql, by pgx's stdlib
// package.
func (s *Store) AppendSQL(ctx context.Context, tx *sql.Tx, messages ...brokers.Message) error {
	query, args, err := s.appending(messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("postgres: append: %w", err)
	}
	return nil
}

// args are those of appendSQL.
func (s *Store) args(messages []brokers.Message) ([]any, error) {
	locks := make([]int64, 0, len(messages))
	shards := make([]int32, len(messages))
	lanes := make([]int64, len(messages))
	rows := make([][]byte, len(messages))
	for i := range messages {
		e, err := outbox.NewEntry(messages[i], s.cfg.Route)
		if err != nil {
			return nil, fmt.Errorf("postgres: append message %d: %w", i, err)
		}
		rows[i], lanes[i], shards[i] = e.Data, int64(e.Lane), int32(e.Lane%uint64(len(s.shards))) // any 64 bits will do
		if e.Keyed && !s.cfg.Unordered {
			locks = append(locks, lanes[i])
		}
	}
	slices.Sort(locks)
	return []any{slices.Compact(locks), shards, lanes, rows}, nil
}
