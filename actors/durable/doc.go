// Package durable is the contract between durable key actors (actors.Durable)
// and the store that keeps their state: outbox/sqlite and outbox/postgres are
// stores, and [Memory] is one for tests.
//
// # Guarantee
//
// A [Unit] is committed as a whole or not at all: the state of a key, the ids of
// the messages that led to it, and the messages that it publishes. A message
// whose id is in the store is never committed again by its group, and a token
// that is not the latest of its scope commits nothing. So effects are once where
// the store's are.
//
// # Order
//
// Units of a key are committed in the order in which they are given.
package durable
