package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/sagas"
)

var _ sagas.Store = (*Store)(nil)

// Store keeps sagas. All methods may be called concurrently.
type Store struct{ outbox *outboxpostgres.Store }

// New is a store in the database of an outbox, whose relays publish what sagas
// send. It makes or updates the tables.
func New(ctx context.Context, outbox *outboxpostgres.Store) (*Store, error) {
	if err := outbox.Apply(ctx, "troupe_saga_schema", migrations); err != nil {
		return nil, fmt.Errorf("postgres: tables of sagas: %w", err)
	}
	return &Store{outbox: outbox}, nil
}

// Sit implements sagas.Store.
func (s *Store) Sit(ctx context.Context, definition, name string) (sagas.Seat, error) {
	seat := sagas.Seat{Definition: definition, Name: name}
	err := s.outbox.Pool().QueryRow(ctx, `INSERT INTO troupe_saga_runners AS r (definition, name, epoch) VALUES ($1, $2, 1)
		ON CONFLICT (definition, name) DO UPDATE SET epoch = r.epoch + 1 RETURNING epoch`, definition, name).Scan(&seat.Epoch)
	if err != nil {
		return seat, fmt.Errorf("postgres: begin as runner %q of %q: %w", name, definition, err)
	}
	return seat, nil
}

const columns = `definition, id, version, revision, status, digest, instance, token, timer, deadline, owner, changed`

func scan(row pgx.Row) (r sagas.Record, err error) {
	var id []byte
	var timer, deadline *time.Time
	err = row.Scan(&r.Definition, &id, &r.Version, &r.Revision, &r.Status, &r.Digest, &r.Instance, &r.Timer.Token, &timer, &deadline, &r.Owner, &r.Changed)
	r.ID, r.Timer.At, r.Deadline, r.Changed = string(id), moment(timer), moment(deadline), r.Changed.UTC()
	return r, err
}

// moment undoes stamp.
func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// records reads rows of columns.
func records(rows pgx.Rows, err error) ([]sagas.Record, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (sagas.Record, error) { return scan(row) })
}

// Load implements sagas.Store.
func (s *Store) Load(ctx context.Context, definition, id string) (sagas.Record, error) {
	r, err := scan(s.outbox.Pool().QueryRow(ctx, `SELECT `+columns+` FROM troupe_sagas WHERE definition = $1 AND id = $2`, definition, []byte(id)))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return r, sagas.ErrNotFound
	case err != nil:
		return r, fmt.Errorf("postgres: load saga %q: %w", id, err)
	}
	return r, nil
}

// List implements sagas.Store.
func (s *Store) List(ctx context.Context, definition string, q sagas.Selection) ([]sagas.Record, error) {
	where, args := `definition = $1 AND id > $2`, []any{definition, []byte(q.After), cmp.Or(q.Limit, 100)}
	if len(q.Statuses) > 0 {
		statuses, live := make([]int16, len(q.Statuses)), true
		for i, status := range q.Statuses {
			statuses[i], live = int16(status), live && !status.Ended()
		}
		args = append(args, statuses)
		where += fmt.Sprintf(` AND status = ANY($%d)`, len(args))
		if live { // there is an index of these
			where += ` AND status < 4`
		}
	}
	if len(q.Versions) > 0 {
		args = append(args, q.Versions)
		where += fmt.Sprintf(` AND version = ANY($%d)`, len(args))
	}
	if q.Owner != "" {
		args = append(args, q.Owner)
		where += fmt.Sprintf(` AND owner = $%d`, len(args))
	}
	found, err := records(s.outbox.Pool().Query(ctx, `SELECT `+columns+` FROM troupe_sagas WHERE `+where+` ORDER BY id LIMIT $3`, args...))
	if err != nil {
		return nil, fmt.Errorf("postgres: list sagas of %q: %w", definition, err)
	}
	return found, nil
}

// Timeline implements sagas.Store.
func (s *Store) Timeline(ctx context.Context, definition, id string) (log []sagas.Entry, err error) {
	rows, err := s.outbox.Pool().Query(ctx, `SELECT entries FROM troupe_saga_log WHERE definition = $1 AND id = $2 ORDER BY revision`, definition, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("postgres: timeline of saga %q: %w", id, err)
	}
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		var entries []sagas.Entry
		err := json.Unmarshal(data, &entries)
		log = append(log, entries...)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("postgres: timeline of saga %q: %w", id, err)
	case len(log) == 0:
		return nil, sagas.ErrNotFound
	}
	return log, nil
}

// InFlight implements sagas.Store.
func (s *Store) InFlight(ctx context.Context, definition string) (map[int]int64, error) {
	rows, err := s.outbox.Pool().Query(ctx, `SELECT version, count(*) FROM troupe_sagas WHERE definition = $1 AND status < 4 GROUP BY version`, definition)
	if err != nil {
		return nil, fmt.Errorf("postgres: sagas in flight: %w", err)
	}
	var version int
	var n int64
	counts := make(map[int]int64)
	_, err = pgx.ForEachRow(rows, []any{&version, &n}, func() error { counts[version] = n; return nil })
	if err != nil {
		return nil, fmt.Errorf("postgres: sagas in flight: %w", err)
	}
	return counts, nil
}

// Prune implements sagas.Store.
func (s *Store) Prune(ctx context.Context, definition string, before time.Time) (forgotten int64, err error) {
	err = s.outbox.Pool().QueryRow(ctx, `WITH gone AS (DELETE FROM troupe_sagas WHERE definition = $1 AND status >= 4 AND changed < $2 RETURNING id),
		log AS (DELETE FROM troupe_saga_log l USING gone WHERE l.definition = $1 AND l.id = gone.id),
		inbox AS (DELETE FROM troupe_saga_inbox WHERE definition = $1 AND at < $2)
		SELECT count(*) FROM gone`, definition, before).Scan(&forgotten)
	if err != nil {
		return 0, fmt.Errorf("postgres: forget sagas of %q: %w", definition, err)
	}
	return forgotten, nil
}

// keeping is the advisory lock of those who count the early replies of a saga.
const keeping = 0x73616761 // "saga"

// Keep implements sagas.Store.
func (s *Store) Keep(ctx context.Context, e sagas.Early, limit int) error {
	data, err := outbox.Encode(&e.Message)
	if err != nil {
		return err
	}
	var known, full bool
	batch := &pgx.Batch{} // one transaction
	batch.Queue(`SELECT pg_advisory_xact_lock($1, hashtext($2))`, keeping, e.Definition)
	batch.Queue(`SELECT EXISTS (SELECT 1 FROM troupe_saga_early WHERE definition = $1 AND message = $2)
			OR EXISTS (SELECT 1 FROM troupe_saga_inbox WHERE definition = $1 AND message = $2),
		(SELECT count(*) FROM troupe_saga_early WHERE definition = $1) >= $3`, e.Definition, []byte(e.Message.ID), limit).
		QueryRow(func(row pgx.Row) error { return row.Scan(&known, &full) })
	batch.Queue(`INSERT INTO troupe_saga_early (definition, message, id, data, at) SELECT $1, $2, $3, $4, $5
		WHERE (SELECT count(*) FROM troupe_saga_early WHERE definition = $1) < $6
			AND NOT EXISTS (SELECT 1 FROM troupe_saga_inbox WHERE definition = $1 AND message = $2)
		ON CONFLICT DO NOTHING`, e.Definition, []byte(e.Message.ID), []byte(e.ID), data, e.At, limit)
	if err := s.outbox.Pool().SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("postgres: keep an early reply to %q: %w", e.ID, err)
	}
	if full && !known {
		return sagas.ErrFull
	}
	return nil
}

// Kept implements sagas.Store.
func (s *Store) Kept(ctx context.Context, definition string, before time.Time, n int) ([]sagas.Early, error) {
	rows, err := s.outbox.Pool().Query(ctx, `SELECT id, data, at, found FROM (
			SELECT id, data, at, EXISTS (SELECT 1 FROM troupe_sagas s WHERE s.definition = e.definition AND s.id = e.id) AS found
			FROM troupe_saga_early e WHERE definition = $1) k
		WHERE found OR at < $2 ORDER BY at LIMIT $3`, definition, before, n)
	if err != nil {
		return nil, fmt.Errorf("postgres: early replies: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (sagas.Early, error) {
		e := sagas.Early{Definition: definition}
		var id, data []byte
		if err := row.Scan(&id, &data, &e.At, &e.Found); err != nil {
			return e, err
		}
		m, err := outbox.Decode(data)
		e.ID, e.Message, e.At = string(id), m, e.At.UTC()
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("postgres: early replies: %w", err)
	}
	return found, nil
}

// Discard implements sagas.Store.
func (s *Store) Discard(ctx context.Context, e sagas.Early, instead ...brokers.Message) error {
	batch := &pgx.Batch{} // one transaction
	batch.Queue(`DELETE FROM troupe_saga_early WHERE definition = $1 AND message = $2`, e.Definition, []byte(e.Message.ID))
	if err := s.outbox.Queue(batch, instead...); err != nil {
		return err
	}
	if err := s.outbox.Pool().SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("postgres: early reply to %q: %w", e.ID, err)
	}
	if len(instead) > 0 {
		s.outbox.Wake()
	}
	return nil
}
