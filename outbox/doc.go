// Package outbox publishes messages that were stored in the transaction of what
// they tell of: a [Relay] takes them from a store, such as outbox/sqlite, and
// publishes them to any broker.
//
//	relay, err := outbox.NewRelay(outbox.Config{Source: store, Broker: broker})
//	err = relay.Run(ctx) // in as many processes as should be able to take over
//
// [Retention] forgets what an inbox has kept for long enough. What a relay does, and
// what waits, is told to Config.Observe; outbox/prommetrics shows it to Prometheus.
//
// # Guarantee
//
// A message is published if and only if its transaction was committed, at least
// once: a relay that ends between a confirmation and the store's deletion leaves
// it to be published again, under the same id. One relay publishes at a time, the
// holder of the store's lease.
//
// # Order
//
// Messages of a key are published in the order in which their transactions were
// committed, one after the other. A message that the broker refuses for good, or
// that cannot be read, holds its key, and no other, until it is dead-lettered or
// goes through: the rows of the key are put aside meanwhile. Config.MaxParked bounds
// how many keys may wait so; the next one holds up all behind it.
//
// # A restored backup
//
// When a database is put back to a backup, the broker is ahead of it, and knows of
// nothing. Relays may run on:
//
//   - What the backup has and was not published by then is published, some of it once
//     more, under the same ids.
//   - What was published of transactions that the backup does not have stays published.
//     If ids follow from numbers that the database counts, as an order's number, those
//     are given again, to something else: have ids contain something that is changed
//     with each restore.
//   - An inbox, and the states of durable actors, do not know what was handled since.
//     Put the group back to a position of before the backup: what the backup knows is
//     skipped, unless [Retention] has forgotten it, and all else is handled again.
//     Members that run on meanwhile load the states anew.
package outbox
