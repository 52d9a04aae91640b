package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// migrations are the statements that bring the tables from one version to the
// next. They are never changed, only added to. The column xid is before id, as the
// transaction must have its id before it takes a number: else a reader's fence
// would not know of it.
var migrations = []string{
	`CREATE TABLE troupe_outbox (
		xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
		shard integer NOT NULL,
		id bigint NOT NULL,
		message bytea NOT NULL,
		at timestamptz NOT NULL DEFAULT clock_timestamp()
	) PARTITION BY LIST (shard);
	CREATE TABLE troupe_relays (
		shard integer PRIMARY KEY,
		relay text NOT NULL DEFAULT '',
		epoch bigint NOT NULL DEFAULT 0,
		until timestamptz NOT NULL DEFAULT '-infinity',
		hi bigint NOT NULL DEFAULT 0,
		open bigint[] NOT NULL DEFAULT '{}'
	) WITH (fillfactor = 50);
	CREATE TABLE troupe_inbox (
		consumer text NOT NULL, id bytea NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
		PRIMARY KEY (consumer, id)
	);
	CREATE INDEX troupe_inbox_at ON troupe_inbox (at);
	CREATE TABLE troupe_offsets (
		consumer text NOT NULL, source text NOT NULL, part integer NOT NULL, last bigint NOT NULL,
		PRIMARY KEY (consumer, source, part)
	);
	CREATE TABLE troupe_scopes (
		consumer text NOT NULL, topic text NOT NULL, part integer NOT NULL, token bigint NOT NULL,
		PRIMARY KEY (consumer, topic, part)
	);
	CREATE TABLE troupe_states (
		consumer text NOT NULL, topic text NOT NULL, key bytea NOT NULL,
		revision bigint NOT NULL, version integer NOT NULL, state bytea NOT NULL,
		PRIMARY KEY (consumer, topic, key)
	);`,
	`ALTER TABLE troupe_outbox ADD COLUMN lane bigint;
	CREATE TABLE troupe_aside (
		shard integer NOT NULL, id bigint NOT NULL, lane bigint NOT NULL, message bytea NOT NULL, at timestamptz NOT NULL,
		PRIMARY KEY (shard, id)
	);
	CREATE INDEX troupe_aside_lane ON troupe_aside (shard, lane, id);`,
	`ALTER TABLE troupe_aside ADD COLUMN attempts integer NOT NULL DEFAULT 0, ADD COLUMN failed_at timestamptz;`,
	// What was a shard's table is its first segment now. The column is renamed so that
	// a relay of an earlier version, which would not know what is in it, stops.
	`ALTER TABLE troupe_relays RENAME COLUMN open TO open_from;
	ALTER TABLE troupe_relays ADD COLUMN open_to bigint[] NOT NULL DEFAULT '{}';
	UPDATE troupe_relays SET open_to = open_from;
	ALTER TABLE troupe_outbox ADD COLUMN segment integer NOT NULL DEFAULT 0;
	DO $$ DECLARE s integer; BEGIN
		FOR s IN SELECT shard FROM troupe_relays LOOP
			EXECUTE format('ALTER TABLE troupe_outbox DETACH PARTITION troupe_outbox_%1$s', s);
			EXECUTE format('ALTER TABLE troupe_outbox_%1$s RENAME TO troupe_outbox_%1$s_0', s);
			EXECUTE format('CREATE TABLE troupe_outbox_%1$s PARTITION OF troupe_outbox FOR VALUES IN (%1$s) PARTITION BY LIST (segment)', s);
			EXECUTE format('ALTER TABLE troupe_outbox_%1$s ATTACH PARTITION troupe_outbox_%1$s_0 FOR VALUES IN (0)', s);
			EXECUTE format('CREATE TABLE troupe_outbox_%1$s_1 PARTITION OF troupe_outbox_%1$s (PRIMARY KEY (id)) FOR VALUES IN (1)', s);
			EXECUTE format('CREATE TABLE troupe_outbox_%1$s_2 PARTITION OF troupe_outbox_%1$s (PRIMARY KEY (id)) FOR VALUES IN (2)', s);
			EXECUTE format('CREATE TABLE troupe_outbox_%1$s_3 PARTITION OF troupe_outbox_%1$s (PRIMARY KEY (id)) FOR VALUES IN (3)', s);
			EXECUTE format('CREATE SEQUENCE troupe_outbox_segment_%1$s MINVALUE 0 OWNED BY troupe_outbox_%1$s.segment', s);
			EXECUTE format('ALTER SEQUENCE troupe_outbox_seq_%1$s OWNED BY troupe_outbox_%1$s.id', s);
		END LOOP;
	END $$;`,
}

// shardSQL makes a shard: a table of segments, a sequence without a cache, as that
// would hand out numbers long before they are used, and another one that is the
// segment which rows are written to.
const shardSQL = `CREATE TABLE IF NOT EXISTS troupe_outbox_%[1]d PARTITION OF troupe_outbox FOR VALUES IN (%[1]d) PARTITION BY LIST (segment);
	CREATE TABLE IF NOT EXISTS troupe_outbox_%[1]d_0 PARTITION OF troupe_outbox_%[1]d (PRIMARY KEY (id)) FOR VALUES IN (0);
	CREATE TABLE IF NOT EXISTS troupe_outbox_%[1]d_1 PARTITION OF troupe_outbox_%[1]d (PRIMARY KEY (id)) FOR VALUES IN (1);
	CREATE TABLE IF NOT EXISTS troupe_outbox_%[1]d_2 PARTITION OF troupe_outbox_%[1]d (PRIMARY KEY (id)) FOR VALUES IN (2);
	CREATE TABLE IF NOT EXISTS troupe_outbox_%[1]d_3 PARTITION OF troupe_outbox_%[1]d (PRIMARY KEY (id)) FOR VALUES IN (3);
	CREATE SEQUENCE IF NOT EXISTS troupe_outbox_segment_%[1]d MINVALUE 0 OWNED BY troupe_outbox_%[1]d.segment;
	CREATE SEQUENCE IF NOT EXISTS troupe_outbox_seq_%[1]d CACHE 1 OWNED BY troupe_outbox_%[1]d.id;
	INSERT INTO troupe_relays (shard) VALUES (%[1]d) ON CONFLICT DO NOTHING;`

// Migrations are the statements that make the tables, one text for each version,
// for those who apply them with a tool of their own, and after them [Shards]. A
// table troupe_schema (version integer NOT NULL) with one row, the number of them
// that were applied, says so to Migrate.
func Migrations() []string { return append([]string(nil), migrations...) }

// Shards are the statements that make n shards where they are missing.
func Shards(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, shardSQL+"\n", i)
	}
	return b.String()
}

// migrating is the advisory lock of those who migrate.
const migrating = 0x74726f757065 // "troupe"

// Migrate makes or updates the tables, in one transaction, and the shards of the
// config. That there are other shards already is an error: a key would change its
// shard, and overtake itself.
func (s *Store) Migrate(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := apply(ctx, tx, "troupe_schema", migrations); err != nil {
			return err
		}
		return s.makeShards(ctx, tx)
	})
}

// Apply applies those migrations that the table, of one row, does not count yet, in
// one transaction, and makes the table where it is missing. It is for tables beside
// the outbox, such as those of sagas. The table's name is part of the statements.
func (s *Store) Apply(ctx context.Context, table string, migrations []string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return apply(ctx, tx, table, migrations) })
}

func apply(ctx context.Context, tx pgx.Tx, table string, migrations []string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, migrating); err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	version, err := schemaVersion(ctx, tx, table)
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("postgres: the tables have version %d by %s, and this program knows %d", version, table, len(migrations))
	}
	for i := version; i < len(migrations); i++ {
		_, err := tx.Exec(ctx, migrations[i]+fmt.Sprintf(`; DELETE FROM %[1]s; INSERT INTO %[1]s (version) VALUES (%[2]d)`, table, i+1))
		if err != nil {
			return fmt.Errorf("postgres: migrate to version %d: %w", i+1, err)
		}
	}
	return nil
}

// schemaVersion makes the table only where it is missing, so that a user who may
// not make tables can work with those that are there.
func schemaVersion(ctx context.Context, tx pgx.Tx, table string) (version int, err error) {
	var there bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&there); err != nil {
		return 0, err
	}
	if !there {
		if _, err := tx.Exec(ctx, `CREATE TABLE `+table+` (version integer NOT NULL)`); err != nil {
			return 0, err
		}
	}
	err = tx.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM `+table).Scan(&version)
	return version, err
}

func (s *Store) makeShards(ctx context.Context, tx pgx.Tx) error {
	var have int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM troupe_relays`).Scan(&have); err != nil {
		return fmt.Errorf("postgres: shards: %w", err)
	}
	switch have {
	case len(s.shards):
		return nil
	case 0:
		if _, err := tx.Exec(ctx, Shards(len(s.shards))); err != nil {
			return fmt.Errorf("postgres: make %d shards: %w", len(s.shards), err)
		}
		return nil
	}
	return fmt.Errorf("%w: Shards is %d, and the tables have %d", ErrConfig, len(s.shards), have)
}
