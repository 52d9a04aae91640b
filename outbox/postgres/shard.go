package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/troupe-go/troupe/outbox"
)

// Shard is a part of the outbox: a source of one relay at a time. All methods may
// be called concurrently.
type Shard struct {
	store    *Store
	n        int
	table    string // of its segments
	sequence string // of its numbers
	writeTo  string // the sequence that is the segment to write to
	woken    chan struct{}

	append, appendKeyed string // statements for one message

	mu      sync.Mutex
	epoch   int64
	until   time.Time // of the lease
	cluster int64     // where the lease is from
	cursor  *cursor   // nil until it is read from the database
	stored  int64     // the cursor's hi, as it is stored
	found   int       // by the last read
	looked  time.Time // for writers, or there were no gaps

	done     int // rows published since others are written to another segment
	clearsAt int // so many
}

var _ outbox.Source = (*Shard)(nil)

func newShard(s *Store, n int) *Shard {
	return &Shard{
		store: s, n: n, table: fmt.Sprintf("troupe_outbox_%d", n), sequence: fmt.Sprintf("troupe_outbox_seq_%d", n),
		writeTo: fmt.Sprintf("troupe_outbox_segment_%d", n), woken: make(chan struct{}, 1),
		append: fmt.Sprintf(appendOneSQL, n, fmt.Sprint(n)), appendKeyed: fmt.Sprintf(appendOneSQL, n, fmt.Sprintf(lockSQL, n)),
	}
}

func (s *Shard) fault(doing string, err error) error {
	return fmt.Errorf("postgres: shard %d: %s: %w", s.n, doing, err)
}

func (s *Shard) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Woken implements outbox.Source.
func (s *Shard) Woken() <-chan struct{} { return s.woken }

// leading says whether a relay of this process has the lease.
func (s *Shard) leading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until)
}

// Lease implements outbox.Source.
func (s *Shard) Lease(ctx context.Context, relay string, length time.Duration) (epoch int64, err error) {
	until := time.Now().Add(length)
	var cluster int64
	err = s.store.pool.QueryRow(ctx, `UPDATE troupe_relays SET
		epoch = epoch + (relay <> $2 OR until < clock_timestamp())::int, relay = $2, until = clock_timestamp() + $3::interval
		WHERE shard = $1 AND (relay = $2 OR until < clock_timestamp())
		RETURNING epoch, (SELECT system_identifier FROM pg_control_system())`, s.n, relay, length).Scan(&epoch, &cluster)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, outbox.ErrLeaseLost
	case err != nil:
		return 0, s.fault("lease", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || s.cluster != cluster { // another relay may have moved it; fences are numbers of a cluster
		s.cursor = nil
	}
	s.epoch, s.cluster, s.until = epoch, cluster, until
	return epoch, nil
}

// Release implements outbox.Source.
func (s *Shard) Release(ctx context.Context, epoch int64) error {
	_, err := s.store.pool.Exec(ctx, `UPDATE troupe_relays SET until = '-infinity' WHERE shard = $1 AND epoch = $2`, s.n, epoch)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch == epoch {
		s.until = time.Time{}
	}
	if err != nil {
		return s.fault("release", err)
	}
	return nil
}

// Rows implements outbox.Source. An error has the place read anew, as the database
// may be another one then.
func (s *Shard) Rows(ctx context.Context, n int) ([]outbox.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.rows(ctx, n)
	if err != nil {
		s.cursor = nil
		return nil, s.fault("read the outbox", err)
	}
	return rows, nil
}

func (s *Shard) rows(ctx context.Context, n int) ([]outbox.Row, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	found, xmin, err := s.snapshot(ctx, n)
	if err != nil {
		return nil, err
	}
	visible, last := make([]int64, len(found)), int64(math.MaxInt64)
	for i := range found {
		visible[i] = found[i].Seq
	}
	if len(found) == n {
		last = visible[n-1]
	}
	s.cursor.saw(visible, last, xmin)
	return found, s.fence(ctx)
}

// load reads the place where the last relay was. Numbers up to there must never be
// given again, as nobody would look for them: that is made sure of, in case a
// sequence was restored from another time than its table.
func (s *Shard) load(ctx context.Context) error {
	if s.cursor != nil {
		return nil
	}
	var hi, last, done int64
	var from, to []int64
	err := s.store.pool.QueryRow(ctx, `SELECT hi, open_from, open_to, (SELECT last_value FROM `+s.sequence+`),
		(SELECT count(*) FROM (SELECT 1 FROM `+s.table+` WHERE id <= hi LIMIT $2) d)
		FROM troupe_relays WHERE shard = $1`, s.n, s.store.cfg.ClearAfter).Scan(&hi, &from, &to, &last, &done)
	if err == nil && last < hi {
		_, err = s.store.pool.Exec(ctx, `SELECT setval($1::text::regclass, $2) WHERE (SELECT last_value FROM `+s.sequence+`) < $2`, s.sequence, hi)
	}
	if err != nil {
		return err
	}
	s.cursor, s.stored = newCursor(hi, from, to), hi
	s.done, s.clearsAt = int(done), s.store.cfg.ClearAfter
	return nil
}

// errMoved says that the place is not where this relay has stored it.
var errMoved = errors.New("the stored place was moved by somebody else, or restored from a backup")

// snapshot is one statement, so that the rows and xmin are of one snapshot.
func (s *Shard) snapshot(ctx context.Context, n int) (found []outbox.Row, xmin int64, err error) {
	query := `SELECT x.xmin, x.hi, r.id, r.lane, r.message, r.at FROM (
			SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, (SELECT hi FROM troupe_relays WHERE shard = $4) AS hi
		) x LEFT JOIN (
			(SELECT o.* FROM unnest($5::bigint[], $6::bigint[]) p (a, b), LATERAL (
				SELECT id, lane, message, at FROM ` + s.table + ` WHERE id BETWEEN p.a AND p.b ORDER BY id LIMIT $3
			) o ORDER BY id LIMIT $3)
			UNION ALL
			(SELECT id, lane, message, at FROM ` + s.table + ` WHERE id > $1 ORDER BY id LIMIT $2)
			ORDER BY id LIMIT $3
		) r ON true ORDER BY r.id`
	from, to := s.cursor.open.bounds()
	beyond := n
	if s.cursor.full() {
		beyond = 0
	}
	rows, err := s.store.pool.Query(ctx, query, s.cursor.hi, beyond, n, s.n, from, to)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	found = make([]outbox.Row, 0, s.found) // rows come as they came: an idle reader makes no room for a batch
	// The targets are of all rows: those of each would be most of a read's garbage.
	var stored, id, lane pgtype.Int8
	var at pgtype.Timestamptz
	var data []byte
	targets := []any{&xmin, &stored, &id, &lane, &data, &at}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, 0, err
		}
		if !stored.Valid || stored.Int64 != s.stored {
			return nil, 0, errMoved
		}
		if !id.Valid { // there are none, only xmin
			continue
		}
		var known *int64
		if lane.Valid {
			known = &lane.Int64
		}
		found = append(found, outbox.NewRow(id.Int64, known, data, at.Time))
	}
	s.found = len(found)
	return found, xmin, rows.Err()
}

// Done implements outbox.Source. It writes one row, whatever the number of those
// that are done with: they are dropped later, with their table.
func (s *Shard) Done(ctx context.Context, epoch int64, seqs []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var also func(tx pgx.Tx) error
	if aside := s.cursor.beyond(seqs); len(aside) > 0 {
		also = func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM troupe_aside WHERE shard = $1 AND id = ANY($2)`, s.n, aside)
			return err
		}
	}
	if err := s.pass(ctx, epoch, seqs, also); err != nil {
		return err
	}
	return s.clearAt(ctx, epoch)
}

// pass stores a place behind some numbers, together with what else there is to do.
func (s *Shard) pass(ctx context.Context, epoch int64, seqs []int64, also func(tx pgx.Tx) error) error {
	if s.cursor == nil || s.epoch != epoch {
		return outbox.ErrLeaseLost
	}
	hi := s.cursor.hi
	from, to := s.cursor.open.without(seqs).bounds()
	move := func(tx execer) error {
		tag, err := tx.Exec(ctx, `UPDATE troupe_relays SET hi = $3, open_from = $4, open_to = $5
			WHERE shard = $1 AND epoch = $2 AND hi = $6`, s.n, epoch, hi, from, to, s.stored)
		if err == nil && tag.RowsAffected() == 0 {
			return outbox.ErrLeaseLost
		}
		return err
	}
	var err error
	if also == nil {
		err = move(s.store.pool)
	} else {
		err = pgx.BeginFunc(ctx, s.store.pool, func(tx pgx.Tx) error {
			if err := move(tx); err != nil {
				return err
			}
			return also(tx)
		})
	}
	if err != nil {
		s.cursor = nil
		return s.fault("store the place", err)
	}
	s.stored = hi
	s.cursor.pass(seqs)
	s.done += len(seqs)
	return nil
}

// execer is a pool or a transaction.
type execer interface {
	Exec(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)
}
