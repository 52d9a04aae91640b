package sqlite

// migrations are the statements that bring the tables from one version to the
// next. They are never changed, only added to. The first one finds the tables in
// databases that are older than the count of versions.
var migrations = []string{
	`CREATE TABLE IF NOT EXISTS troupe_sagas (
		definition TEXT NOT NULL, id TEXT NOT NULL,
		version INTEGER NOT NULL, revision INTEGER NOT NULL, status INTEGER NOT NULL,
		digest BLOB, instance BLOB NOT NULL,
		token INTEGER NOT NULL, timer INTEGER, deadline INTEGER, -- times are microseconds since 1970
		due INTEGER, -- the earlier of both, or the end of a claim
		since INTEGER, -- the earlier of both
		owner TEXT NOT NULL, changed INTEGER NOT NULL,
		PRIMARY KEY (definition, id)
	) WITHOUT ROWID;
	CREATE INDEX IF NOT EXISTS troupe_sagas_due ON troupe_sagas (definition, due) WHERE due IS NOT NULL;
	CREATE TABLE IF NOT EXISTS troupe_saga_log (
		definition TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, entries BLOB NOT NULL,
		PRIMARY KEY (definition, id, revision)
	) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS troupe_saga_inbox (
		definition TEXT NOT NULL, message TEXT NOT NULL, at INTEGER NOT NULL,
		PRIMARY KEY (definition, message)
	) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS troupe_saga_early (
		definition TEXT NOT NULL, message TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, at INTEGER NOT NULL,
		PRIMARY KEY (definition, message)
	) WITHOUT ROWID;`,
	`CREATE TABLE troupe_saga_runners (
		definition TEXT NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL,
		PRIMARY KEY (definition, name)
	) WITHOUT ROWID;`,
}

// Migrations are the statements that make the tables, one text for each version,
// for those who apply them with a tool of their own. A table troupe_saga_schema
// with one row, the number of them that were applied, says so to [New].
func Migrations() []string { return append([]string(nil), migrations...) }
