// Package sqlite keeps an outbox, an inbox and the state of durable actors in
// SQLite, by modernc.org/sqlite: no C, nothing to install.
//
//	store, err := sqlite.Open(ctx, "app.db", sqlite.Config{})
//	err = store.InTx(ctx, func(tx *sql.Tx) error {
//		_, err := tx.ExecContext(ctx, "UPDATE accounts ...")
//		return errors.Join(err, store.Append(ctx, tx, message))
//	})
//
// A [Store] is a source of an outbox.Relay, and a store of actors.Durable.
//
// # Guarantee
//
// What is committed survives a crash of the process, and, as synchronous is FULL,
// one of the machine. What [Store.Append] was given is published if and only if
// its transaction is committed; see package outbox.
//
// # Order
//
// SQLite has one writer at a time, so rows are numbered in the order of commits.
package sqlite
