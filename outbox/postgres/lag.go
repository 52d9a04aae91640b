package postgres

import (
	"context"
	"time"

	"github.com/troupe-go/troupe/outbox"
)

// Lag implements outbox.Source.
func (s *Shard) Lag(ctx context.Context) (outbox.Lag, error) {
	var l outbox.Lag
	var oldest *time.Time
	err := s.store.pool.QueryRow(ctx, `WITH place AS (SELECT * FROM troupe_relays WHERE shard = $1),
		known AS (SELECT o.at FROM place, unnest(open_from, open_to) p (a, b), LATERAL (
			SELECT at FROM `+s.table+` WHERE id BETWEEN p.a AND p.b ORDER BY id LIMIT $2) o),
		beyond AS (SELECT at FROM `+s.table+` WHERE id > (SELECT hi FROM place) ORDER BY id LIMIT $2),
		aside AS (SELECT at FROM troupe_aside WHERE shard = $1)
		SELECT k.n + CASE WHEN b.n < $2 THEN b.n ELSE greatest(b.n, (SELECT max(id) FROM `+s.table+`) - p.hi) END + a.n, a.n,
			(SELECT coalesce(sum(t - f + 1), 0)::bigint FROM unnest(p.open_from, p.open_to) o (f, t)) - k.n, least(k.oldest, b.oldest, a.oldest)
		FROM place p,
			(SELECT count(*) AS n, min(at) AS oldest FROM known) k,
			(SELECT count(*) AS n, min(at) AS oldest FROM beyond) b,
			(SELECT count(*) AS n, min(at) AS oldest FROM aside) a`, s.n, exactly).Scan(&l.Rows, &l.Aside, &l.Gaps, &oldest)
	if err != nil {
		return l, s.fault("lag", err)
	}
	if oldest != nil {
		l.Oldest = *oldest
	}
	return l, nil
}

// exactly is up to how many rows the lag is counted.
const exactly = 100_000
