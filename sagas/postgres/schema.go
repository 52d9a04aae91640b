package postgres

// migrations are the statements that bring the tables from one version to the
// next. They are never changed, only added to. Ids come from outside, so they are
// bytes, which take any text and sort the same everywhere. The room that pages keep
// lets most transitions do without a new entry in each index.
var migrations = []string{
	`CREATE TABLE troupe_sagas (
		definition text NOT NULL, id bytea NOT NULL,
		version integer NOT NULL, revision bigint NOT NULL, status smallint NOT NULL,
		digest bytea, instance bytea NOT NULL,
		token bigint NOT NULL, timer timestamptz, deadline timestamptz,
		due timestamptz, -- the earlier of both
		wake timestamptz, -- when to look, at due or before
		claimed timestamptz NOT NULL DEFAULT '-infinity', -- until then
		owner text NOT NULL, changed timestamptz NOT NULL,
		PRIMARY KEY (definition, id)
	) WITH (fillfactor = 60);
	CREATE INDEX troupe_sagas_wake ON troupe_sagas (definition, wake) WHERE wake IS NOT NULL;
	CREATE INDEX troupe_sagas_live ON troupe_sagas (definition, id) WHERE status < 4;
	CREATE TABLE troupe_saga_log (
		definition text NOT NULL, id bytea NOT NULL, revision bigint NOT NULL, entries bytea NOT NULL,
		PRIMARY KEY (definition, id, revision)
	);
	CREATE TABLE troupe_saga_inbox (
		definition text NOT NULL, message bytea NOT NULL, at timestamptz NOT NULL,
		PRIMARY KEY (definition, message)
	);
	CREATE TABLE troupe_saga_early (
		definition text NOT NULL, message bytea NOT NULL, id bytea NOT NULL, data bytea NOT NULL, at timestamptz NOT NULL,
		PRIMARY KEY (definition, message)
	);
	CREATE TABLE troupe_saga_runners (
		definition text NOT NULL, name text NOT NULL, epoch bigint NOT NULL,
		PRIMARY KEY (definition, name)
	) WITH (fillfactor = 50);`,
}

// Migrations are the statements that make the tables, one text for each version,
// for those who apply them with a tool of their own. A table troupe_saga_schema
// (version integer NOT NULL) with one row, the number of them that were applied,
// says so to [New].
func Migrations() []string { return append([]string(nil), migrations...) }
