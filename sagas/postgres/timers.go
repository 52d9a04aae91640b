package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/sagas"
)

// claimSQL takes those that are due. Rows of which wake was only a bound are put
// right: most transitions move a timer to later, and leave wake, which has an index,
// as it is. Others who claim skip what is locked here.
const claimSQL = `WITH late AS MATERIALIZED (
		SELECT definition, id, due FROM troupe_sagas WHERE definition = $1 AND wake <= $2 AND claimed <= $2
		ORDER BY wake LIMIT $4 FOR UPDATE SKIP LOCKED
	)
	UPDATE troupe_sagas s SET wake = s.due, claimed = CASE WHEN s.due <= $2 THEN $3 ELSE s.claimed END
	FROM late WHERE s.definition = late.definition AND s.id = late.id
	RETURNING s.due <= $2, s.definition, s.id, version, revision, status, digest, instance, token, timer, deadline, owner, changed`

// nextSQL is when there is something to claim: what is due and not claimed, else
// the end of a claim or the first timer to come.
const nextSQL = `SELECT coalesce(
		(SELECT wake FROM troupe_sagas WHERE definition = $1 AND wake <= $2 AND claimed <= $2 ORDER BY wake LIMIT 1),
		least((SELECT min(claimed) FROM troupe_sagas WHERE definition = $1 AND wake <= $2),
			(SELECT wake FROM troupe_sagas WHERE definition = $1 AND wake > $2 ORDER BY wake LIMIT 1)))`

// Claim implements sagas.Store.
func (s *Store) Claim(ctx context.Context, definition string, now time.Time, lease time.Duration, n int) (due []sagas.Record, next time.Time, err error) {
	for {
		found, looked, err := s.claim(ctx, definition, now, lease, n-len(due))
		if err != nil {
			return nil, next, fmt.Errorf("postgres: claim timers of %q: %w", definition, err)
		}
		due = append(due, found...)
		if looked == 0 || len(due) == n {
			break
		}
	}
	slices.SortFunc(due, func(a, b sagas.Record) int { return a.Due().Compare(b.Due()) })
	var at *time.Time
	if err := s.outbox.Pool().QueryRow(ctx, nextSQL, definition, now).Scan(&at); err != nil {
		return nil, next, fmt.Errorf("postgres: timers of %q: %w", definition, err)
	}
	return due, moment(at), nil
}

// claim returns also how many rows it looked at.
func (s *Store) claim(ctx context.Context, definition string, now time.Time, lease time.Duration, n int) (due []sagas.Record, looked int, err error) {
	rows, err := s.outbox.Pool().Query(ctx, claimSQL, definition, now, now.Add(lease), n)
	if err != nil {
		return nil, 0, err
	}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		looked++
		var isDue *bool
		r, err := scan(flagged{row, &isDue})
		if isDue != nil && *isDue {
			due = append(due, r)
		}
		return struct{}{}, err
	})
	return due, looked, err
}

// flagged is a row with a column before the others.
type flagged struct {
	pgx.Row

	flag any
}

// Scan implements pgx.Row.
func (f flagged) Scan(dest ...any) error { return f.Row.Scan(append([]any{f.flag}, dest...)...) }
