package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas"
)

var _ sagas.Store = (*Store)(nil)

// Store keeps sagas. All methods may be called concurrently.
type Store struct{ outbox *outboxsqlite.Store }

// New is a store in the database of an outbox, whose relay publishes what sagas
// send. It makes or updates the tables.
func New(ctx context.Context, outbox *outboxsqlite.Store) (*Store, error) {
	if err := outbox.Apply(ctx, "troupe_saga_schema", migrations); err != nil {
		return nil, fmt.Errorf("sqlite: tables of sagas: %w", err)
	}
	return &Store{outbox: outbox}, nil
}

// stamp is a time as it is stored; nil for none.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func unstamp(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return time.UnixMicro(us.Int64).UTC()
}

// Sit implements sagas.Store.
func (s *Store) Sit(ctx context.Context, definition, name string) (sagas.Seat, error) {
	seat := sagas.Seat{Definition: definition, Name: name}
	err := s.outbox.DB().QueryRowContext(ctx, `INSERT INTO troupe_saga_runners (definition, name, epoch) VALUES (?, ?, 1)
		ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch`, definition, name).Scan(&seat.Epoch)
	if err != nil {
		return seat, fmt.Errorf("sqlite: begin as runner %q of %q: %w", name, definition, err)
	}
	return seat, nil
}

// sits returns sagas.ErrFenced if the seat is another's.
func sits(ctx context.Context, tx *sql.Tx, by sagas.Seat) error {
	var holds bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM troupe_saga_runners WHERE definition = ? AND name = ? AND epoch = ?)`,
		by.Definition, by.Name, by.Epoch).Scan(&holds)
	if err == nil && !holds {
		return sagas.ErrFenced
	}
	return err
}

// Commit implements sagas.Store.
func (s *Store) Commit(ctx context.Context, by sagas.Seat, units []sagas.Unit) (verdicts []error, err error) {
	verdicts = make([]error, len(units))
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		if err := sits(ctx, tx, by); err != nil {
			return fmt.Errorf("sqlite: runner %q of %q: %w", by.Name, by.Definition, err)
		}
		for i := range units {
			verdict, err := s.commit(ctx, tx, &units[i])
			if err != nil {
				return fmt.Errorf("sqlite: saga %q: %w", units[i].Record.ID, err)
			}
			verdicts[i] = verdict
		}
		return nil
	})
	return verdicts, err
}

// Writers implements sagas.Store: SQLite has one.
func (*Store) Writers() int { return 1 }

func (s *Store) commit(ctx context.Context, tx *sql.Tx, u *sagas.Unit) (verdict, err error) {
	r := &u.Record
	if u.Handled != "" {
		var known bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM troupe_saga_inbox WHERE definition = ? AND message = ?)`, r.Definition, u.Handled).Scan(&known)
		if err != nil || known {
			return sagas.ErrRepeat, err
		}
	}
	if changed, err := write(ctx, tx, r); err != nil || !changed {
		return sagas.ErrConflict, err
	}
	if len(u.Log) > 0 {
		entries, err := sagas.EncodeLog(u.Log)
		if err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO troupe_saga_log (definition, id, revision, entries) VALUES (?, ?, ?, ?)`,
			r.Definition, r.ID, r.Revision+1, entries); err != nil {
			return nil, err
		}
	}
	if u.Handled != "" {
		if _, err := tx.ExecContext(ctx, `INSERT INTO troupe_saga_inbox (definition, message, at) VALUES (?, ?, ?)`, r.Definition, u.Handled, stamp(r.Changed)); err != nil {
			return nil, err
		}
		if err := forget(ctx, tx, r.Definition, u.Handled); err != nil {
			return nil, err
		}
	}
	return nil, s.outbox.Append(ctx, tx, u.Messages...)
}

// write stores an instance, if it is at its revision.
func write(ctx context.Context, tx *sql.Tx, r *sagas.Record) (changed bool, err error) {
	due := stamp(r.Due())
	var result sql.Result
	if r.Revision == 0 {
		result, err = tx.ExecContext(ctx, `INSERT INTO troupe_sagas
			(definition, id, version, revision, status, digest, instance, token, timer, deadline, due, since, owner, changed)
			VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			r.Definition, r.ID, r.Version, r.Status, r.Digest, r.Instance, r.Timer.Token, stamp(r.Timer.At), stamp(r.Deadline), due, due, r.Owner, stamp(r.Changed))
	} else {
		result, err = tx.ExecContext(ctx, `UPDATE troupe_sagas SET version = ?, revision = revision + 1, status = ?, instance = ?, token = ?,
			timer = ?, deadline = ?, due = ?, since = ?, owner = ?, changed = ? WHERE definition = ? AND id = ? AND revision = ?`,
			r.Version, r.Status, r.Instance, r.Timer.Token, stamp(r.Timer.At), stamp(r.Deadline), due, due, r.Owner, stamp(r.Changed),
			r.Definition, r.ID, r.Revision)
	}
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

func forget(ctx context.Context, tx *sql.Tx, definition, message string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM troupe_saga_early WHERE definition = ? AND message = ?`, definition, message)
	return err
}

// Keep implements sagas.Store.
func (s *Store) Keep(ctx context.Context, e sagas.Early, limit int) error {
	data, err := outbox.Encode(&e.Message)
	if err != nil {
		return err
	}
	return s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		var kept int
		var known bool
		err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM troupe_saga_early WHERE definition = ?1),
			EXISTS (SELECT 1 FROM troupe_saga_early WHERE definition = ?1 AND message = ?2)
			OR EXISTS (SELECT 1 FROM troupe_saga_inbox WHERE definition = ?1 AND message = ?2)`, e.Definition, e.Message.ID).Scan(&kept, &known)
		switch {
		case err != nil:
			return fmt.Errorf("sqlite: early replies: %w", err)
		case known:
			return nil
		case kept >= limit:
			return sagas.ErrFull
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO troupe_saga_early (definition, message, id, data, at) VALUES (?, ?, ?, ?, ?)`,
			e.Definition, e.Message.ID, e.ID, data, stamp(e.At))
		return err
	})
}

// Kept implements sagas.Store.
func (s *Store) Kept(ctx context.Context, definition string, before time.Time, n int) (found []sagas.Early, err error) {
	rows, err := s.outbox.DB().QueryContext(ctx, `SELECT id, data, at, found FROM (
			SELECT id, data, at, EXISTS (SELECT 1 FROM troupe_sagas s WHERE s.definition = e.definition AND s.id = e.id) AS found
			FROM troupe_saga_early e WHERE definition = ?)
		WHERE found OR at < ? ORDER BY at LIMIT ?`, definition, stamp(before), n)
	if err != nil {
		return nil, fmt.Errorf("sqlite: early replies: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		e := sagas.Early{Definition: definition}
		var data []byte
		var at sql.NullInt64
		if err := rows.Scan(&e.ID, &data, &at, &e.Found); err != nil {
			return nil, fmt.Errorf("sqlite: early replies: %w", err)
		}
		if e.Message, err = outbox.Decode(data); err != nil {
			return nil, err
		}
		e.At = unstamp(at)
		found = append(found, e)
	}
	return found, rows.Err()
}

// Discard implements sagas.Store.
func (s *Store) Discard(ctx context.Context, e sagas.Early, instead ...brokers.Message) error {
	return s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		if err := forget(ctx, tx, e.Definition, e.Message.ID); err != nil {
			return fmt.Errorf("sqlite: early replies: %w", err)
		}
		return s.outbox.Append(ctx, tx, instead...)
	})
}

// Prune implements sagas.Store.
func (s *Store) Prune(ctx context.Context, definition string, before time.Time) (forgotten int64, err error) {
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		const ended = `definition = ? AND status IN (?, ?) AND changed < ?`
		args := []any{definition, sagas.Completed, sagas.Compensated, stamp(before)}
		_, err := tx.ExecContext(ctx, `DELETE FROM troupe_saga_log WHERE definition = ? AND id IN (SELECT id FROM troupe_sagas WHERE `+ended+`)`,
			append([]any{definition}, args...)...)
		if err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `DELETE FROM troupe_sagas WHERE `+ended, args...)
		if err != nil {
			return err
		}
		if forgotten, err = result.RowsAffected(); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM troupe_saga_inbox WHERE definition = ? AND at < ?`, definition, stamp(before))
		return err
	})
	return forgotten, err
}

const columns = `definition, id, version, revision, status, digest, instance, token, timer, deadline, owner, changed`

func scan(rows interface{ Scan(...any) error }) (r sagas.Record, err error) {
	var timer, deadline, changed sql.NullInt64
	err = rows.Scan(&r.Definition, &r.ID, &r.Version, &r.Revision, &r.Status, &r.Digest, &r.Instance, &r.Timer.Token, &timer, &deadline, &r.Owner, &changed)
	r.Timer.At, r.Deadline, r.Changed = unstamp(timer), unstamp(deadline), unstamp(changed)
	return r, err
}

func (s *Store) records(ctx context.Context, query string, args ...any) (found []sagas.Record, err error) {
	rows, err := s.outbox.DB().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read sagas: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("sqlite: read sagas: %w", err)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// Load implements sagas.Store.
func (s *Store) Load(ctx context.Context, definition, id string) (sagas.Record, error) {
	r, err := scan(s.outbox.DB().QueryRowContext(ctx, `SELECT `+columns+` FROM troupe_sagas WHERE definition = ? AND id = ?`, definition, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, sagas.ErrNotFound
	case err != nil:
		return r, fmt.Errorf("sqlite: load saga %q: %w", id, err)
	}
	return r, nil
}

// List implements sagas.Store.
func (s *Store) List(ctx context.Context, definition string, q sagas.Selection) ([]sagas.Record, error) {
	where, args := `definition = ? AND id > ?`, []any{definition, q.After}
	if q.Owner != "" {
		where, args = where+` AND owner = ?`, append(args, q.Owner)
	}
	where, args = among(where, args, "status", q.Statuses)
	where, args = among(where, args, "version", q.Versions)
	return s.records(ctx, `SELECT `+columns+` FROM troupe_sagas WHERE `+where+` ORDER BY id LIMIT ?`, append(args, cmp.Or(q.Limit, 100))...)
}

// among adds the condition that a column is one of those wanted, if any are named.
func among[V any](where string, args []any, column string, wanted []V) (wider string, all []any) {
	if len(wanted) == 0 {
		return where, args
	}
	for _, v := range wanted {
		args = append(args, v)
	}
	return where + ` AND ` + column + ` IN (` + strings.TrimSuffix(strings.Repeat("?,", len(wanted)), ",") + `)`, args
}

// Timeline implements sagas.Store.
func (s *Store) Timeline(ctx context.Context, definition, id string) (log []sagas.Entry, err error) {
	rows, err := s.outbox.DB().QueryContext(ctx, `SELECT entries FROM troupe_saga_log WHERE definition = ? AND id = ? ORDER BY revision`, definition, id)
	if err != nil {
		return nil, fmt.Errorf("sqlite: timeline of saga %q: %w", id, err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var data []byte
		var entries []sagas.Entry
		if err := errors.Join(rows.Scan(&data), json.Unmarshal(data, &entries)); err != nil {
			return nil, fmt.Errorf("sqlite: timeline of saga %q: %w", id, err)
		}
		log = append(log, entries...)
	}
	if len(log) == 0 && rows.Err() == nil {
		return nil, sagas.ErrNotFound
	}
	return log, rows.Err()
}

// InFlight implements sagas.Store.
func (s *Store) InFlight(ctx context.Context, definition string) (map[int]int64, error) {
	rows, err := s.outbox.DB().QueryContext(ctx, `SELECT version, count(*) FROM troupe_sagas WHERE definition = ? AND status NOT IN (?, ?) GROUP BY version`,
		definition, sagas.Completed, sagas.Compensated)
	if err != nil {
		return nil, fmt.Errorf("sqlite: sagas in flight: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	counts := make(map[int]int64)
	for rows.Next() {
		var version int
		var n int64
		if err := rows.Scan(&version, &n); err != nil {
			return nil, fmt.Errorf("sqlite: sagas in flight: %w", err)
		}
		counts[version] = n
	}
	return counts, rows.Err()
}

// Claim implements sagas.Store.
func (s *Store) Claim(ctx context.Context, definition string, now time.Time, lease time.Duration, n int) (due []sagas.Record, next time.Time, err error) {
	var first sql.NullInt64
	const earliest = `SELECT min(due) FROM troupe_sagas WHERE definition = ? AND due IS NOT NULL`
	if err := s.outbox.DB().QueryRowContext(ctx, earliest, definition).Scan(&first); err != nil {
		return nil, next, fmt.Errorf("sqlite: timers: %w", err)
	}
	if next = unstamp(first); next.IsZero() || next.After(now) {
		return nil, next, nil // without a lock
	}
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `UPDATE troupe_sagas SET due = ? WHERE (definition, id) IN (
			SELECT definition, id FROM troupe_sagas WHERE definition = ? AND due <= ? ORDER BY since LIMIT ?) RETURNING `+columns,
			stamp(now.Add(lease)), definition, stamp(now), n)
		if err != nil {
			return fmt.Errorf("sqlite: claim timers: %w", err)
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			r, err := scan(rows)
			if err != nil {
				return fmt.Errorf("sqlite: claim timers: %w", err)
			}
			due = append(due, r)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, earliest, definition).Scan(&first)
	})
	slices.SortFunc(due, func(a, b sagas.Record) int { return a.Due().Compare(b.Due()) })
	return due, unstamp(first), err
}
