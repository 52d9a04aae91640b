package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-go/troupe/actors/durable"
)

var _ durable.TxStore = (*Store)(nil)

// Acquire implements durable.Store.
func (s *Store) Acquire(ctx context.Context, scope durable.Scope) (token uint64, err error) {
	err = s.db.QueryRowContext(ctx, `INSERT INTO troupe_scopes (consumer, topic, part, token) VALUES (?, ?, ?, 1)
		ON CONFLICT DO UPDATE SET token = token + 1 RETURNING token`, scope.Group, scope.Topic, scope.Partition).Scan(&token)
	if err != nil {
		return 0, fmt.Errorf("sqlite: acquire %v: %w", scope, err)
	}
	return token, nil
}

// Load implements durable.Store.
func (s *Store) Load(ctx context.Context, scope durable.Scope, key string) (r durable.Record, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT revision, version, state FROM troupe_states WHERE consumer = ? AND topic = ? AND key = ?`,
		scope.Group, scope.Topic, []byte(key)).Scan(&r.Revision, &r.Version, &r.State)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return durable.Record{}, nil
	case err != nil:
		return durable.Record{}, fmt.Errorf("sqlite: load %q of %v: %w", key, scope, err)
	}
	return r, nil
}

// Each calls f with every state of a group in a topic, in no order, as they are at
// one moment. An error of f ends it.
func (s *Store) Each(ctx context.Context, group, topic string, f func(key string, r durable.Record) error) error {
	rows, err := s.db.QueryContext(ctx, `SELECT key, revision, version, state FROM troupe_states WHERE consumer = ? AND topic = ?`, group, topic)
	if err != nil {
		return fmt.Errorf("sqlite: states of %q in %q: %w", group, topic, err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var key []byte
		var r durable.Record
		if err := rows.Scan(&key, &r.Revision, &r.Version, &r.State); err != nil {
			return fmt.Errorf("sqlite: states of %q in %q: %w", group, topic, err)
		}
		if err := f(string(key), r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Commit implements durable.Store.
func (s *Store) Commit(ctx context.Context, units []durable.Unit) error {
	if len(units) == 0 {
		return s.db.PingContext(ctx)
	}
	return s.InTx(ctx, func(tx *sql.Tx) error {
		if err := checkTokens(ctx, tx, units); err != nil {
			return err
		}
		if err := checkRepeats(ctx, tx, units); err != nil {
			return err
		}
		for i := range units {
			if err := s.write(ctx, tx, &units[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Writers implements durable.Store: SQLite has one.
func (*Store) Writers() int { return 1 }

// CommitTx implements durable.TxStore. The transaction is a *sql.Tx.
func (s *Store) CommitTx(ctx context.Context, u durable.Unit, f func(tx any, u *durable.Unit) error) error {
	return s.InTx(ctx, func(tx *sql.Tx) error {
		if err := checkTokens(ctx, tx, []durable.Unit{u}); err != nil {
			return err
		}
		if err := checkRepeats(ctx, tx, []durable.Unit{u}); err != nil {
			return err
		}
		if err := f(tx, &u); err != nil {
			return err
		}
		return s.write(ctx, tx, &u)
	})
}

// TxType implements durable.TxStore.
func (s *Store) TxType() reflect.Type { return reflect.TypeFor[*sql.Tx]() }

func checkTokens(ctx context.Context, tx *sql.Tx, units []durable.Unit) error {
	checked := make(map[durable.Scope]bool)
	for i := range units {
		u := &units[i]
		if checked[u.Scope] {
			continue
		}
		checked[u.Scope] = true
		var token uint64
		err := tx.QueryRowContext(ctx, `SELECT token FROM troupe_scopes WHERE consumer = ? AND topic = ? AND part = ?`,
			u.Scope.Group, u.Scope.Topic, u.Scope.Partition).Scan(&token)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("sqlite: token of %v: %w", u.Scope, err)
		}
		if token != u.Token {
			return &durable.FencedError{Scope: u.Scope}
		}
	}
	return nil
}

// checkRepeats looks for messages that the first group with any has handled.
func checkRepeats(ctx context.Context, tx *sql.Tx, units []durable.Unit) error {
	ids := make(map[string][]any) // by group
	for i := range units {
		group := units[i].Scope.Group
		for _, id := range units[i].Handled {
			ids[group] = append(ids[group], id)
		}
	}
	for group, all := range ids {
		known, err := recorded(ctx, tx, group, all)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			return &durable.DuplicateError{Group: group, IDs: known}
		}
	}
	return nil
}

func recorded(ctx context.Context, tx *sql.Tx, consumer string, ids []any) (known []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM troupe_inbox WHERE consumer = ? AND id IN (`+places(len(ids))+`)`, append([]any{consumer}, ids...)...)
	if err != nil {
		return nil, fmt.Errorf("sqlite: inbox of %q: %w", consumer, err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("sqlite: inbox of %q: %w", consumer, err)
		}
		known = append(known, id)
	}
	return known, rows.Err()
}

func (s *Store) write(ctx context.Context, tx *sql.Tx, u *durable.Unit) error {
	result, err := tx.ExecContext(ctx, `INSERT INTO troupe_states (consumer, topic, key, revision, version, state)
		SELECT ?1, ?2, ?3, 1, ?4, ?5 WHERE ?6 = 0
		ON CONFLICT DO NOTHING`, u.Scope.Group, u.Scope.Topic, []byte(u.Key), u.Version, u.State, u.Revision)
	if err == nil && u.Revision > 0 {
		result, err = tx.ExecContext(ctx, `UPDATE troupe_states SET revision = revision + 1, version = ?, state = ?
			WHERE consumer = ? AND topic = ? AND key = ? AND revision = ?`, u.Version, u.State, u.Scope.Group, u.Scope.Topic, []byte(u.Key), u.Revision)
	}
	if err != nil {
		return fmt.Errorf("sqlite: write %q of %v: %w", u.Key, u.Scope, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%w: key %q of %v is not at revision %d", durable.ErrConflict, u.Key, u.Scope, u.Revision)
	}
	for _, id := range u.Handled {
		if _, err := s.Seen(ctx, tx, u.Scope.Group, id); err != nil {
			return err
		}
	}
	return s.Append(ctx, tx, u.Messages...)
}
