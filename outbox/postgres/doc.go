// Package postgres keeps an outbox, an inbox and the state of durable actors in
// PostgreSQL, by pgx.
//
//	store, err := postgres.Open(ctx, "postgres://...", postgres.Config{})
//	err = store.InTx(ctx, func(tx pgx.Tx) error {
//		_, err := tx.Exec(ctx, "UPDATE accounts ...")
//		return errors.Join(err, store.Append(ctx, tx, message))
//	})
//
// Each [Shard] of a [Store] is a source of an outbox.Relay, and the store is one
// of actors.Durable.
//
// # Guarantee
//
// What [Store.Append] was given is published if and only if its transaction is
// committed; see package outbox. The inbox and the states of actors are as durable
// as the server's synchronous_commit makes them.
//
// # Order
//
// Numbers of rows are given before the commit, so a row may become visible after
// one with a larger number, or never. The reader remembers each number that it has
// not seen, and gives it up only when no transaction can have it any more: when all
// have ended that are older than a transaction id taken after it saw the gap, or all
// that held the lock of a writer of the outbox after it saw the gap, whichever comes
// first. So a transaction that has nothing to do with the outbox keeps no gap open,
// however long it takes. Rows that are visible do not wait for any of that. With
// 50,000 runs of numbers that are not done with, the reader looks no further until
// there are less: it takes a writer that is at it while others roll back that often.
//
// Append takes an advisory lock for each key until the transaction ends, so those
// who write to one key commit in the order of their rows. Two transactions that
// append to the same keys in several calls, in different orders, may deadlock:
// PostgreSQL ends one of them with 40P01, and it is to be tried again. A single
// call sorts its locks. [Config.Unordered] takes none, and gives up the order of
// transactions that overlap.
//
// # Space
//
// Rows are not deleted one by one, as dead rows would slow down each later read. A
// shard has four tables, its segments; rows are written to one of them, and after
// [Config.ClearAfter] published rows to another. A segment where nothing waits is
// truncated, without waiting for anybody who uses it: it is tried again later. So
// what is published keeps its space only as long as a row that was written near it
// waits, or a transaction that wrote or reads there is open.
package postgres
