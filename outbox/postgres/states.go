package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"

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

// Commit implements durable.Store, in two round trips.
func (s *Store) Commit(ctx context.Context, units []durable.Unit) error {
	if len(units) == 0 {
		return s.pool.Ping(ctx)
	}
	batch := &pgx.Batch{}
	batch.Queue(`BEGIN`)
	PlanByIndex(batch)
	queueTokens(batch, units)
	queueHandled(batch, units)
	queueStates(batch, units)
	var messages []brokers.Message
	for i := range units {
		messages = append(messages, units[i].Messages...)
	}
	if err := s.Queue(batch, messages...); err != nil {
		return err
	}
	if err := s.commit(ctx, batch); err != nil {
		return s.repeated(ctx, err, units)
	}
	if len(messages) > 0 {
		s.Wake()
	}
	return nil
}

// Writers implements durable.Store: each takes a connection of the pool.
func (s *Store) Writers() int { return int(s.pool.Stat().MaxConns()) }

// commit sends a batch that begins a transaction, and ends it once what the batch
// has read was found right.
func (s *Store) commit(ctx context.Context, batch *pgx.Batch) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("postgres: commit: %w", err)
	}
	defer conn.Release() // it closes a connection with a transaction that is not over
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		_, _ = conn.Exec(ctx, `ROLLBACK`) // err tells
		return err
	}
	if _, err := conn.Exec(ctx, `COMMIT`); err != nil {
		return fmt.Errorf("postgres: commit: %w", err)
	}
	return nil
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
		PlanByIndex(last) // what f asks is planned as usual
		queueStates(last, []durable.Unit{u})
		if err := s.Queue(last, u.Messages...); err != nil {
			return err
		}
		return tx.SendBatch(ctx, last).Close()
	})
	if err != nil {
		return s.repeated(ctx, err, []durable.Unit{u})
	}
	if len(u.Messages) > 0 {
		s.Wake()
	}
	return nil
}

// TxType implements durable.TxStore.
func (s *Store) TxType() reflect.Type { return reflect.TypeFor[pgx.Tx]() }
