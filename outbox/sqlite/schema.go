package sqlite

import (
	"context"
	"fmt"
)

// now is SQLite's time in milliseconds since 1970.
const now = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`

// migrations are the statements that bring the tables from one version to the
// next. They are never changed, only added to.
var migrations = []string{
	`CREATE TABLE troupe_outbox (
		seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so a reader's place stays right
		message BLOB NOT NULL,
		at INTEGER NOT NULL
	);
	CREATE TABLE troupe_lease (
		id INTEGER PRIMARY KEY CHECK (id = 1),
		relay TEXT NOT NULL,
		epoch INTEGER NOT NULL,
		until INTEGER NOT NULL
	);
	INSERT INTO troupe_lease (id, relay, epoch, until) VALUES (1, '', 0, 0);
	CREATE TABLE troupe_inbox (
		consumer TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
		PRIMARY KEY (consumer, id)
	) WITHOUT ROWID;
	CREATE TABLE troupe_scopes (
		consumer TEXT NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL, token INTEGER NOT NULL,
		PRIMARY KEY (consumer, topic, part)
	) WITHOUT ROWID;
	CREATE TABLE troupe_states (
		consumer TEXT NOT NULL, topic TEXT NOT NULL, key BLOB NOT NULL,
		revision INTEGER NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
		PRIMARY KEY (consumer, topic, key)
	) WITHOUT ROWID;`,
	`CREATE TABLE troupe_offsets (
		consumer TEXT NOT NULL, source TEXT NOT NULL, part INTEGER NOT NULL, last INTEGER NOT NULL,
		PRIMARY KEY (consumer, source, part)
	) WITHOUT ROWID;`,
	`ALTER TABLE troupe_outbox ADD COLUMN lane INTEGER;
	CREATE TABLE troupe_aside (
		seq INTEGER PRIMARY KEY, lane INTEGER NOT NULL, message BLOB NOT NULL, at INTEGER NOT NULL
	);
	CREATE INDEX troupe_aside_lane ON troupe_aside (lane, seq);
	CREATE INDEX troupe_inbox_at ON troupe_inbox (at);`,
	`ALTER TABLE troupe_aside ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE troupe_aside ADD COLUMN failed_at INTEGER;`,
}

// Migrations are the statements that make the tables, one text for each version,
// for those who apply them with a tool of their own. A table troupe_schema with
// one row, the number of them that were applied, says so to Migrate.
func Migrations() []string { return append([]string(nil), migrations...) }

// Migrate makes or updates the tables, in one transaction.
func (s *Store) Migrate(ctx context.Context) error { return s.Apply(ctx, "troupe_schema", migrations) }

// Apply applies those migrations that the table, of one row, does not count yet, in
// one transaction, and makes the table where it is missing. It is for tables beside
// the outbox, such as those of sagas. The table's name is part of the statements.
func (s *Store) Apply(ctx context.Context, table string, migrations []string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS `+table+` (version INTEGER NOT NULL)`); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM `+table).Scan(&version); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("sqlite: the tables have version %d by %s, and this program knows %d", version, table, len(migrations))
	}
	for i := version; i < len(migrations); i++ {
		if _, err := tx.ExecContext(ctx, migrations[i]); err != nil {
			return fmt.Errorf("sqlite: migrate to version %d: %w", i+1, err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+`; INSERT INTO `+table+` (version) VALUES (?)`, i+1); err != nil {
			return fmt.Errorf("sqlite: migrate to version %d: %w", i+1, err)
		}
	}
	return tx.Commit()
}
