package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troupe-go/troupe/brokers"
	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/sagas"
)

// commitSQL stores units, no two of one instance, and says whether the seat holds,
// which units are no repeats, and which of those are stored. The seat is kept until
// the commit, so that who takes it sees all that was committed. What was begun is
// found by its hash: to join it would take the square of the units, as hash joins are
// off.
const commitSQL = givenSQL + `, known AS MATERIALIZED (
		SELECT g.n FROM given g JOIN troupe_saga_inbox i ON i.definition = g.definition AND i.message = g.handled
	), fresh AS MATERIALIZED (
		SELECT * FROM given WHERE CASE WHEN n IN (SELECT n FROM known) THEN false ELSE true END
	)` + storedSQL + `, inbox AS (
		INSERT INTO troupe_saga_inbox (definition, message, at) SELECT definition, handled, changed FROM stored WHERE handled IS NOT NULL
	), early AS (
		DELETE FROM troupe_saga_early e USING stored s WHERE s.handled IS NOT NULL AND e.definition = s.definition AND e.message = s.handled
	)` + verdictSQL

// commitLocalSQL is commitSQL for units that no message has led to, as those of
// local steps: it leaves the inbox alone.
const commitLocalSQL = givenSQL + `, fresh AS NOT MATERIALIZED (SELECT * FROM given)` + storedSQL + verdictSQL

const (
	givenSQL = `WITH seat AS MATERIALIZED (
		SELECT epoch FROM troupe_saga_runners WHERE definition = $1 AND name = $2 FOR SHARE
	), given AS MATERIALIZED (
		SELECT * FROM unnest($4::text[], $5::bytea[], $6::integer[], $7::bigint[], $8::smallint[], $9::bytea[], $10::bytea[], $11::bigint[],
			$12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::text[], $16::timestamptz[], $17::bytea[], $18::bytea[]) WITH ORDINALITY
			AS u (definition, id, version, revision, status, digest, instance, token, timer, deadline, due, owner, changed, entries, handled, n)
		WHERE (SELECT epoch FROM seat) = $3
	)`
	storedSQL = `, begun AS (
		INSERT INTO troupe_sagas (definition, id, version, revision, status, digest, instance, token, timer, deadline, due, wake, owner, changed)
		SELECT definition, id, version, 1, status, digest, instance, token, timer, deadline, due, due, owner, changed FROM fresh WHERE revision = 0
		ON CONFLICT DO NOTHING RETURNING definition, id
	), moved AS (
		UPDATE troupe_sagas s SET version = f.version, revision = s.revision + 1, status = f.status, instance = f.instance, token = f.token,
			timer = f.timer, deadline = f.deadline, due = f.due, wake = CASE WHEN f.due IS NOT NULL THEN least(s.wake, f.due) END,
			claimed = '-infinity', owner = f.owner, changed = f.changed
		FROM fresh f WHERE f.revision > 0 AND s.definition = f.definition AND s.id = f.id AND s.revision = f.revision
		RETURNING f.definition, f.id, f.revision, f.entries, f.handled, f.changed, f.n
	), stored AS MATERIALIZED (
		SELECT * FROM moved UNION ALL
		SELECT definition, id, revision, entries, handled, changed, n FROM fresh
		WHERE revision = 0 AND CASE WHEN (definition, id) IN (SELECT definition, id FROM begun) THEN true END
	), logged AS (
		INSERT INTO troupe_saga_log (definition, id, revision, entries)
		SELECT definition, id, revision + 1, entries FROM stored WHERE entries IS NOT NULL
	)`
	verdictSQL = `
	SELECT (SELECT epoch FROM seat) = $3, (SELECT array_agg(n) FROM fresh), (SELECT array_agg(n) FROM stored)`
)

// Commit implements sagas.Store.
func (s *Store) Commit(ctx context.Context, by sagas.Seat, units []sagas.Unit) (verdicts []error, err error) {
	conn, err := s.outbox.Pool().Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: commit sagas: %w", err)
	}
	defer conn.Release() // which ends the transaction, if there is one
	publishing := false
	verdicts = make([]error, len(units))
	batch := &pgx.Batch{} // without a begin it is one transaction
	for i := range units {
		publishing = publishing || len(units[i].Messages) > 0
	}
	if publishing {
		batch.Queue(`BEGIN`)
	}
	outboxpostgres.PlanByIndex(batch)
	for _, set := range distinct(units) {
		if err := queue(batch, by, units, set, verdicts); err != nil {
			return nil, err
		}
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("postgres: commit sagas: %w", err)
	}
	if !publishing {
		return verdicts, nil
	}
	return verdicts, s.publish(ctx, conn, units, verdicts)
}

// Writers implements sagas.Store: each takes a connection of the pool.
func (s *Store) Writers() int { return int(s.outbox.Pool().Stat().MaxConns()) }

// publish ends the transaction, with what the units publish that are stored.
func (s *Store) publish(ctx context.Context, conn *pgxpool.Conn, units []sagas.Unit, verdicts []error) error {
	var messages []brokers.Message
	for i := range units {
		if verdicts[i] == nil {
			messages = append(messages, units[i].Messages...)
		}
	}
	batch := &pgx.Batch{}
	if err := s.outbox.Queue(batch, messages...); err != nil {
		return err
	}
	batch.Queue(`COMMIT`)
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("postgres: commit sagas: %w", err)
	}
	s.outbox.Wake()
	return nil
}

// distinct parts units, by their places, into sets in which no instance and no
// message is there twice, in order: a statement does not see its own changes.
func distinct(units []sagas.Unit) (sets [][]int) {
	type name struct {
		definition, what string
		message          bool
	}
	var set []int
	seen := make(map[name]bool, len(units))
	for i := range units {
		u := &units[i]
		instance, message := name{u.Record.Definition, u.Record.ID, false}, name{u.Record.Definition, u.Handled, true}
		if seen[instance] || u.Handled != "" && seen[message] {
			sets, set = append(sets, set), nil
			clear(seen)
		}
		seen[instance] = true
		if u.Handled != "" {
			seen[message] = true
		}
		set = append(set, i)
	}
	return append(sets, set)
}

// columnar are the arguments of commitSQL. The arrays are of types that pgx encodes
// without reflection.
type columnar struct {
	definitions, owners           array[word]
	ids, digests, instances       array[blob]
	entries, handled              array[blob]
	versions                      []int32
	revisions, tokens             []int64
	statuses                      []int16
	timers, deadlines, due, times array[pgtype.Timestamptz]
	replies                       bool // are among them
}

// columnsFor has room for n units.
func columnsFor(n int) *columnar {
	texts, wide, bytes, times := make(array[word], 2*n), make([]int64, 2*n), make(array[blob], 5*n), make([]pgtype.Timestamptz, 4*n)
	return &columnar{
		definitions: texts[:0:n], owners: texts[n:n],
		ids: bytes[:0:n], digests: bytes[n : n : 2*n], instances: bytes[2*n : 2*n : 3*n], entries: bytes[3*n : 3*n : 4*n], handled: bytes[4*n : 4*n],
		versions: make([]int32, 0, n), statuses: make([]int16, 0, n), revisions: wide[:0:n], tokens: wide[n:n],
		timers: times[:0:n], deadlines: times[n : n : 2*n], due: times[2*n : 2*n : 3*n], times: times[3*n : 3*n],
	}
}

func (c *columnar) add(u *sagas.Unit) error {
	r := &u.Record
	var entries, handled []byte
	if len(u.Log) > 0 {
		var err error
		if entries, err = sagas.EncodeLog(u.Log); err != nil {
			return fmt.Errorf("postgres: log of saga %q: %w", r.ID, err)
		}
	}
	if u.Handled != "" {
		handled = []byte(u.Handled)
	}
	digest := r.Digest
	if r.Revision > 0 {
		digest = nil // the row has it
	}
	c.definitions, c.owners = append(c.definitions, word(r.Definition)), append(c.owners, word(r.Owner))
	c.ids, c.digests, c.instances = append(c.ids, []byte(r.ID)), append(c.digests, digest), append(c.instances, r.Instance)
	c.entries, c.handled = append(c.entries, entries), append(c.handled, handled)
	c.versions, c.statuses = append(c.versions, int32(r.Version)), append(c.statuses, int16(r.Status))
	c.revisions, c.tokens = append(c.revisions, int64(r.Revision)), append(c.tokens, int64(r.Timer.Token))
	c.timers, c.deadlines = append(c.timers, stamp(r.Timer.At)), append(c.deadlines, stamp(r.Deadline))
	c.due, c.times = append(c.due, stamp(r.Due())), append(c.times, stamp(r.Changed))
	c.replies = c.replies || u.Handled != ""
	return nil
}

// stamp is a time as it is stored; null for none.
func stamp(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }

// queue stores a set of units, and gives them their verdicts.
func queue(batch *pgx.Batch, by sagas.Seat, units []sagas.Unit, set []int, verdicts []error) error {
	c := columnsFor(len(set))
	for _, i := range set {
		if err := c.add(&units[i]); err != nil {
			return err
		}
	}
	query := commitLocalSQL
	if c.replies {
		query = commitSQL
	}
	batch.Queue(query, by.Definition, by.Name, int64(by.Epoch), c.definitions, c.ids, c.versions, c.revisions, c.statuses, c.digests, c.instances,
		c.tokens, c.timers, c.deadlines, c.due, c.owners, c.times, c.entries, c.handled).QueryRow(func(row pgx.Row) error {
		var holds *bool
		var fresh, stored []int64
		if err := row.Scan(&holds, &fresh, &stored); err != nil {
			return err
		}
		if holds == nil || !*holds {
			return fmt.Errorf("runner %q of %q: %w", by.Name, by.Definition, sagas.ErrFenced)
		}
		for _, i := range set {
			verdicts[i] = sagas.ErrRepeat
		}
		for _, n := range fresh {
			verdicts[set[n-1]] = sagas.ErrConflict
		}
		for _, n := range stored {
			verdicts[set[n-1]] = nil
		}
		return nil
	})
	return nil
}
