package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/troupe-go/troupe/actors/durable"
)

// planSQL concerns the transaction.
const planSQL = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
	set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true)`

// PlanByIndex has what follows in the transaction of the batch planned once, and use
// the indexes whatever the tables hold: the statistics of a table that is being
// filled are always too old.
func PlanByIndex(batch *pgx.Batch) { batch.Queue(planSQL) }

// tokensSQL finds the first scope that has another token. It keeps the others until
// the commit, so that who acquires them sees all that was committed.
const tokensSQL = `WITH given AS MATERIALIZED (
		SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[]) WITH ORDINALITY u (consumer, topic, part, token, n)
	), held AS MATERIALIZED (
		SELECT g.n, s.token = g.token AS holds FROM given g
			JOIN troupe_scopes s ON s.consumer = g.consumer AND s.topic = g.topic AND s.part = g.part FOR SHARE OF s
	)
	SELECT min(n) FROM given WHERE CASE WHEN n IN (SELECT n FROM held WHERE holds) THEN false ELSE true END`

// queueTokens checks the owners.
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
	groups, topics := make([]string, len(scopes)), make([]string, len(scopes))
	parts, held := make([]int32, len(scopes)), make([]int64, len(scopes))
	for i, scope := range scopes {
		groups[i], topics[i], parts[i], held[i] = scope.Group, scope.Topic, scope.Partition, int64(tokens[scope])
	}
	batch.Queue(tokensSQL, groups, topics, parts, held).QueryRow(func(row pgx.Row) error {
		switch n, err := firstWrong(row); {
		case err != nil:
			return fmt.Errorf("postgres: tokens: %w", err)
		case n > 0:
			return &durable.FencedError{Scope: scopes[n-1]}
		}
		return nil
	})
}

// firstWrong reads the place of the first that is not as it should be; 0 if all are.
func firstWrong(row pgx.Row) (int64, error) {
	var n *int64
	if err := row.Scan(&n); err != nil || n == nil {
		return 0, err
	}
	return *n, nil
}

// queueHandled records the messages. If one was recorded before, that is an error of
// the server, of which [Store.repeated] makes one that says which: ON CONFLICT would
// look each up before, which is half of what this costs.
func queueHandled(batch *pgx.Batch, units []durable.Unit) {
	for _, h := range handled(units) {
		batch.Queue(`INSERT INTO troupe_inbox (consumer, id) SELECT $1, i FROM unnest($2::bytea[]) i`, h.group, h.ids)
	}
}

// groupHandled are messages of a group.
type groupHandled struct {
	group string
	ids   pgtype.FlatArray[[]byte]
}

// handled are the messages of units by groups, sorted, as all lock in one order.
func handled(units []durable.Unit) (sorted []groupHandled) {
	byGroup := make(map[string][][]byte)
	for i := range units {
		group := units[i].Scope.Group
		for _, id := range units[i].Handled {
			byGroup[group] = append(byGroup[group], []byte(id))
		}
	}
	for group, ids := range byGroup {
		slices.SortFunc(ids, slices.Compare)
		sorted = append(sorted, groupHandled{group, slices.CompactFunc(ids, slices.Equal)})
	}
	slices.SortFunc(sorted, func(a, b groupHandled) int { return cmp.Compare(a.group, b.group) })
	return sorted
}

// uniqueViolation is the server's code.
const uniqueViolation = "23505"

// repeated makes a [*durable.DuplicateError] of the error of a transaction that was
// given up because messages had been handled. Others are returned as they are.
func (s *Store) repeated(ctx context.Context, err error, units []durable.Unit) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != uniqueViolation || refused.TableName != "troupe_inbox" {
		return err
	}
	for _, h := range handled(units) {
		rows, failed := s.pool.Query(ctx, `SELECT id FROM troupe_inbox WHERE consumer = $1 AND id = ANY($2::bytea[]) ORDER BY id`, h.group, h.ids)
		if failed != nil {
			return failed
		}
		known, failed := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if failed != nil {
			return fmt.Errorf("postgres: inbox of %q: %w", h.group, failed)
		}
		if len(known) == 0 {
			continue
		}
		repeated := &durable.DuplicateError{Group: h.group}
		for _, id := range known {
			repeated.IDs = append(repeated.IDs, string(id))
		}
		return repeated
	}
	return err // it was forgotten meanwhile
}

const (
	givenSQL = `WITH given AS MATERIALIZED (
		SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::integer[], $6::bytea[]) WITH ORDINALITY
			u (consumer, topic, key, revision, version, state, n)
	), stored AS (`
	// begunSQL stores states of keys that have none, and returns the place of the
	// first that has.
	begunSQL = givenSQL + `
		INSERT INTO troupe_states (consumer, topic, key, revision, version, state) SELECT consumer, topic, key, 1, version, state FROM given
		ON CONFLICT DO NOTHING RETURNING consumer, topic, key
	)
	SELECT min(n) FROM given WHERE CASE WHEN (consumer, topic, key) IN (SELECT consumer, topic, key FROM stored) THEN false ELSE true END`
	// movedSQL stores the next states of keys, and returns the place of the first
	// that is at another revision.
	movedSQL = givenSQL + `
		UPDATE troupe_states s SET revision = s.revision + 1, version = g.version, state = g.state FROM given g
		WHERE s.consumer = g.consumer AND s.topic = g.topic AND s.key = g.key AND s.revision = g.revision RETURNING g.n
	)
	SELECT min(n) FROM given WHERE CASE WHEN n IN (SELECT n FROM stored) THEN false ELSE true END`
)

// states are the arguments of begunSQL or movedSQL. The arrays are of types that pgx
// encodes without reflection.
type states struct {
	groups, topics []string
	keys, states   pgtype.FlatArray[[]byte]
	revisions      []int64
	versions       []int32
}

func (s *states) add(u *durable.Unit) {
	state := u.State
	if state == nil {
		state = []byte{}
	}
	s.groups, s.topics = append(s.groups, u.Scope.Group), append(s.topics, u.Scope.Topic)
	s.keys, s.states = append(s.keys, []byte(u.Key)), append(s.states, state)
	s.revisions, s.versions = append(s.revisions, int64(u.Revision)), append(s.versions, int32(u.Version))
}

func (s *states) queue(batch *pgx.Batch, query string) {
	if len(s.keys) == 0 {
		return
	}
	batch.Queue(query, s.groups, s.topics, s.keys, s.revisions, s.versions, s.states).QueryRow(func(row pgx.Row) error {
		switch n, err := firstWrong(row); {
		case err != nil:
			return fmt.Errorf("postgres: write states: %w", err)
		case n > 0:
			return fmt.Errorf("%w: key %q of group %q in %q is not at revision %d", durable.ErrConflict,
				s.keys[n-1], s.groups[n-1], s.topics[n-1], s.revisions[n-1])
		}
		return nil
	})
}

// queueStates writes the states, those of one key in order: a statement does not see
// its own changes.
func queueStates(batch *pgx.Batch, units []durable.Unit) {
	type name struct{ group, topic, key string }
	begun, moved := &states{}, &states{}
	seen := make(map[name]bool, len(units))
	flush := func() {
		begun.queue(batch, begunSQL)
		moved.queue(batch, movedSQL)
	}
	for i := range units {
		u := &units[i]
		n := name{u.Scope.Group, u.Scope.Topic, u.Key}
		if seen[n] {
			flush()
			begun, moved = &states{}, &states{}
			clear(seen)
		}
		seen[n] = true
		if u.Revision == 0 {
			begun.add(u)
		} else {
			moved.add(u)
		}
	}
	flush()
}
