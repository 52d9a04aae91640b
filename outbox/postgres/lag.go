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
	err := s.store.pool.QueryRow(ctx, `WITH place AS (SELECT hi, open FROM troupe_relays WHERE shard = $1),
		visible AS (
			SELECT at FROM `+s.table+` WHERE id = ANY((SELECT open FROM place)::bigint[])
			UNION ALL
			(SELECT at FROM `+s.table+` WHERE id > (SELECT hi FROM place) ORDER BY id LIMIT $2)
		), aside AS (SELECT at FROM troupe_aside WHERE shard = $1)
		SELECT CASE WHEN v.n < $2 THEN v.n ELSE greatest(v.n, (SELECT max(id) FROM `+s.table+`) - p.hi) END + a.n, a.n,
			cardinality(p.open) - v.known, least(v.oldest, a.oldest)
		FROM place p,
			(SELECT count(*) AS n, min(at) AS oldest,
				(SELECT count(*) FROM `+s.table+` WHERE id = ANY((SELECT open FROM place)::bigint[])) AS known FROM visible) v,
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
