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
// not seen, and gives it up only when no transaction can have it any more: after
// it saw the gap it takes a transaction id, and waits until all older transactions
// have ended. Rows that are visible do not wait for that.
//
// Append takes an advisory lock for each key until the transaction ends, so those
// who write to one key commit in the order of their rows. Two transactions that
// append to the same keys in several calls, in different orders, may deadlock:
// PostgreSQL ends one of them with 40P01, and it is to be tried again. A single
// call sorts its locks. [Config.Unordered] takes none, and gives up the order of
// transactions that overlap.
package postgres
