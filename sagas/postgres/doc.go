// Package postgres keeps sagas in PostgreSQL, in the database of an outbox/postgres
// store.
//
//	db, err := outboxpostgres.Open(ctx, "postgres://...", outboxpostgres.Config{})
//	store, err := postgres.New(ctx, db)
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Store: store, ...})
//
// # Guarantee
//
// A transition is one transaction with what it publishes, which is in the outbox
// of the same database. Many transitions share one commit, which is one round trip,
// or two if something is published; it is as durable as the server's
// synchronous_commit makes it.
//
// # Order
//
// What a saga publishes is in the outbox in the order of its transitions.
package postgres
