// Package sqlite keeps sagas in SQLite, in the database of an outbox/sqlite store.
//
//	db, err := outboxsqlite.Open(ctx, "app.db", outboxsqlite.Config{})
//	store, err := sqlite.New(ctx, db)
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Store: store, ...})
//
// # Guarantee
//
// A transition is one transaction with what it publishes, which is in the outbox
// of the same database. Many transitions share one commit.
//
// # Order
//
// What a saga publishes is in the outbox in the order of its transitions.
package sqlite
