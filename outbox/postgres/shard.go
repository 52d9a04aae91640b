package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/outbox"
)

// Shard is a part of the outbox: a source of one relay at a time. All methods may
// be called concurrently.
type Shard struct {
	store *Store
	n     int
	table string // its leaf
	woken chan struct{}

	mu     sync.Mutex
	epoch  int64
	until  time.Time // of the lease
	cursor *cursor   // nil until it is read from the database
	done   int       // rows published since the table was cleared
}

var _ outbox.Source = (*Shard)(nil)

func newShard(s *Store, n int) *Shard {
	return &Shard{store: s, n: n, table: fmt.Sprintf("troupe_outbox_%d", n), woken: make(chan struct{}, 1)}
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
	err = s.store.pool.QueryRow(ctx, `UPDATE troupe_relays SET
		epoch = epoch + (relay <> $2 OR until < clock_timestamp())::int, relay = $2, until = clock_timestamp() + $3::interval
		WHERE shard = $1 AND (relay = $2 OR until < clock_timestamp()) RETURNING epoch`, s.n, relay, length).Scan(&epoch)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, outbox.ErrLeaseLost
	case err != nil:
		return 0, s.fault("lease", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		s.cursor = nil // another relay may have moved it
	}
	s.epoch, s.until = epoch, until
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
// may be another one then, such as a restored backup.
func (s *Shard) Rows(ctx context.Context, after int64, n int) ([]outbox.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.rows(ctx, after, n)
	if err != nil {
		s.cursor = nil
		return nil, s.fault("read the outbox", err)
	}
	return rows, nil
}

func (s *Shard) rows(ctx context.Context, after int64, n int) ([]outbox.Row, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	found, xmin, err := s.snapshot(ctx, after, n)
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
	s.cursor.saw(after, visible, last, xmin)
	return found, s.fence(ctx)
}

// load reads the place where the last relay was.
func (s *Shard) load(ctx context.Context) error {
	if s.cursor != nil {
		return nil
	}
	var hi int64
	var open []int64
	if err := s.store.pool.QueryRow(ctx, `SELECT hi, open FROM troupe_relays WHERE shard = $1`, s.n).Scan(&hi, &open); err != nil {
		return err
	}
	s.cursor = newCursor(hi, open)
	return nil
}

// snapshot is one statement, so that the rows and xmin are of one snapshot.
func (s *Shard) snapshot(ctx context.Context, after int64, n int) (found []outbox.Row, xmin int64, err error) {
	query := `SELECT x.xmin, r.id, r.message, r.at
		FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin) x LEFT JOIN (
			(SELECT id, message, at FROM ` + s.table + ` WHERE id = ANY($1) ORDER BY id LIMIT $3)
			UNION ALL
			(SELECT id, message, at FROM ` + s.table + ` WHERE id > $2 ORDER BY id LIMIT $3)
			ORDER BY id LIMIT $3
		) r ON true ORDER BY r.id`
	rows, err := s.store.pool.Query(ctx, query, s.cursor.wanted(after), s.cursor.hi, n)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var id *int64
		var at *time.Time
		var data []byte
		if err := rows.Scan(&xmin, &id, &data, &at); err != nil {
			return nil, 0, err
		}
		if id == nil {
			continue // there are none, only xmin
		}
		m, err := outbox.Decode(data)
		if err != nil {
			return nil, 0, fmt.Errorf("row %d: %w", *id, err)
		}
		found = append(found, outbox.Row{Seq: *id, Message: m, At: *at})
	}
	return found, xmin, rows.Err()
}

// fence takes a transaction id for new gaps, in a transaction of its own.
func (s *Shard) fence(ctx context.Context) error {
	if !s.cursor.unfenced() {
		return nil
	}
	var xid int64
	if err := s.store.pool.QueryRow(ctx, `SELECT pg_current_xact_id()::text::bigint`).Scan(&xid); err != nil {
		return err
	}
	s.cursor.fence(xid)
	return nil
}

// Done implements outbox.Source. It writes one row, whatever the number of those
// that are done with: they are dropped later, with their table.
func (s *Shard) Done(ctx context.Context, epoch int64, seqs []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursor == nil || s.epoch != epoch {
		return outbox.ErrLeaseLost
	}
	open := s.cursor.without(seqs)
	tag, err := s.store.pool.Exec(ctx, `UPDATE troupe_relays SET hi = $3, open = $4 WHERE shard = $1 AND epoch = $2`, s.n, epoch, s.cursor.hi, open)
	if err != nil {
		s.cursor = nil
		return s.fault("store the place", err)
	}
	if tag.RowsAffected() == 0 {
		s.cursor = nil
		return outbox.ErrLeaseLost
	}
	for _, id := range seqs {
		delete(s.cursor.open, id)
	}
	s.done += len(seqs)
	if s.done < s.store.cfg.ClearAfter {
		return nil
	}
	cleared, err := s.clear(ctx, epoch)
	if err != nil {
		return s.fault("clear the outbox", err)
	}
	s.done = 0
	if !cleared { // try again before long
		s.done = s.store.cfg.ClearAfter - s.store.cfg.ClearAfter/4
	}
	return nil
}

// Lag implements outbox.Source.
func (s *Shard) Lag(ctx context.Context) (outbox.Lag, error) {
	var l outbox.Lag
	var oldest *time.Time
	err := s.store.pool.QueryRow(ctx, `SELECT count(o.id), min(o.at) FROM troupe_relays r JOIN `+s.table+` o
		ON o.id > r.hi OR o.id = ANY(r.open) WHERE r.shard = $1`, s.n).Scan(&l.Rows, &oldest)
	if err != nil {
		return l, s.fault("lag", err)
	}
	if oldest != nil {
		l.Oldest = *oldest
	}
	return l, nil
}
