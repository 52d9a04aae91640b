package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
)

var _ durable.TxStore = (*Store)(nil)

// Acquire implements durable.Store. It waits for a commit of the owner before.
func (s *Store) Acquire(ctx context.Context, scope durable.Scope) (token uint64, err error) {
	err = s.pool.QueryRow(ctx, `INSERT INTO troupe_scopes AS t (consumer, topic, part, token) VALUES ($1, $2, $3, 1)
		ON CONFLICT (consumer, topic, part) DO UPDATE SET token = t.token + 1 RETURNING token`, scope.Group, scope.Topic, scope.Partition).Scan(&token)
	if err != nil {
		return 0, fmt.Errorf("postgres: acquire %v: %w", scope, err)
	}
	return token, nil
}

// Load implements durable.Store.
func (s *Store) Load(ctx context.Context, scope durable.Scope, key string) (r durable.Record, err error) {
	err = s.pool.QueryRow(ctx, `SELECT revision, version, state FROM troupe_states WHERE consumer = $1 AND topic = $2 AND key = $3`,
		scope.Group, scope.Topic, []byte(key)).Scan(&r.Revision, &r.Version, &r.State)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return durable.Record{}, nil
	case err != nil:
		return durable.Record{}, fmt.Errorf("postgres: load %q of %v: %w", key, scope, err)
	}
	return r, nil
}

// Each calls f with every state of a group in a topic, in no order, as they are at
// one moment. An error of f ends it.
func (s *Store) Each(ctx context.Context, group, topic string, f func(key string, r durable.Record) error) error {
	rows, err := s.pool.Query(ctx, `SELECT key, revision, version, state FROM troupe_states WHERE consumer = $1 AND topic = $2`, group, topic)
	if err != nil {
		return fmt.Errorf("postgres: states of %q in %q: %w", group, topic, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key []byte
		var r durable.Record
		if err := rows.Scan(&key, &r.Revision, &r.Version, &r.State); err != nil {
			return fmt.Errorf("postgres: states of %q in %q: %w", group, topic, err)
		}
		if err := f(string(key), r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Commit implements durable.Store, in three round trips.
func (s *Store) Commit(ctx context.Context, units []durable.Unit) error {
	if len(units) == 0 {
		return s.pool.Ping(ctx)
	}
	batch := &pgx.Batch{}
	queueTokens(batch, units)
	queueHandled(batch, units)
	var messages []brokers.Message
	for i := range units {
		queueState(batch, &units[i])
		messages = append(messages, units[i].Messages...)
	}
	if err := s.Queue(batch, messages...); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() })
	if err == nil && len(messages) > 0 {
		s.Wake()
	}
	return err
}

// CommitTx implements durable.TxStore. The transaction is a pgx.Tx.
func (s *Store) CommitTx(ctx context.Context, u durable.Unit, f func(tx any, u *durable.Unit) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		first, last := &pgx.Batch{}, &pgx.Batch{}
		queueTokens(first, []durable.Unit{u})
		queueHandled(first, []durable.Unit{u})
		if err := tx.SendBatch(ctx, first).Close(); err != nil {
			return err
		}
		if err := f(tx, &u); err != nil {
			return err
		}
		queueState(last, &u)
		if err := s.Queue(last, u.Messages...); err != nil {
			return err
		}
		return tx.SendBatch(ctx, last).Close()
	})
	if err == nil && len(u.Messages) > 0 {
		s.Wake()
	}
	return err
}

// TxType implements durable.TxStore.
func (s *Store) TxType() reflect.Type { return reflect.TypeFor[pgx.Tx]() }

// queueTokens checks the owners, and keeps them until the commit.
func queueTokens(batch *pgx.Batch, units []durable.Unit) {
	tokens := make(map[durable.Scope]uint64)
	var scopes []durable.Scope
	for i := range units {
		u := &units[i]
		if _, ok := tokens[u.Scope]; !ok {
			scopes = append(scopes, u.Scope)
		}
		tokens[u.Scope] = u.Token
	}
	slices.SortFunc(scopes, func(a, b durable.Scope) int { // all lock in one order
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, scope := range scopes {
		batch.Queue(`SELECT token FROM troupe_scopes WHERE consumer = $1 AND topic = $2 AND part = $3 FOR SHARE`,
			scope.Group, scope.Topic, scope.Partition).QueryRow(func(row pgx.Row) error {
			var token uint64
			if err := row.Scan(&token); err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return fmt.Errorf("postgres: token of %v: %w", scope, err)
			}
			if token != tokens[scope] {
				return &durable.FencedError{Scope: scope}
			}
			return nil
		})
	}
}

// queueHandled records the messages. Those that were are not returned.
func queueHandled(batch *pgx.Batch, units []durable.Unit) {
	byGroup := make(map[string]map[string]bool)
	for i := range units {
		group := units[i].Scope.Group
		for _, id := range units[i].Handled {
			if byGroup[group] == nil {
				byGroup[group] = make(map[string]bool)
			}
			byGroup[group][id] = true
		}
	}
	groups := make([]string, 0, len(byGroup))
	for group := range byGroup {
		groups = append(groups, group)
	}
	slices.Sort(groups)
	for _, group := range groups {
		queueGroup(batch, group, byGroup[group])
	}
}

func queueGroup(batch *pgx.Batch, group string, missing map[string]bool) {
	ids := make([][]byte, 0, len(missing))
	for id := range missing {
		ids = append(ids, []byte(id))
	}
	slices.SortFunc(ids, slices.Compare) // all lock in one order
	batch.Queue(`INSERT INTO troupe_inbox (consumer, id) SELECT $1, i FROM unnest($2::bytea[]) i ON CONFLICT DO NOTHING RETURNING id`,
		group, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return fmt.Errorf("postgres: inbox of %q: %w", group, err)
			}
			delete(missing, string(id))
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("postgres: inbox of %q: %w", group, err)
		}
		if len(missing) == 0 {
			return nil
		}
		known := make([]string, 0, len(missing))
		for id := range missing {
			known = append(known, id)
		}
		slices.Sort(known)
		return &durable.DuplicateError{Group: group, IDs: known}
	})
}

func queueState(batch *pgx.Batch, u *durable.Unit) {
	state := u.State
	if state == nil {
		state = []byte{}
	}
	query := `INSERT INTO troupe_states (consumer, topic, key, revision, version, state) SELECT $1, $2, $3, 1, $4, $5 WHERE $6::bigint = 0
		ON CONFLICT DO NOTHING`
	if u.Revision > 0 {
		query = `UPDATE troupe_states SET revision = revision + 1, version = $4, state = $5
			WHERE consumer = $1 AND topic = $2 AND key = $3 AND revision = $6::bigint`
	}
	batch.Queue(query, u.Scope.Group, u.Scope.Topic, []byte(u.Key), u.Version, state, u.Revision).Query(func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); err != nil {
			return fmt.Errorf("postgres: write %q of %v: %w", u.Key, u.Scope, err)
		}
		if rows.CommandTag().RowsAffected() != 1 {
			return fmt.Errorf("%w: key %q of %v is not at revision %d", durable.ErrConflict, u.Key, u.Scope, u.Revision)
		}
		return nil
	})
}
