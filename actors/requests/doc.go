// Package requests asks and answers, in Go types, over any broker that has
// [brokers.Requests]. Who answers is a function ([Handle]) or the actors of keys
// ([Keys]).
//
// # Guarantee
//
// At most once: nothing is stored. A request without an answer may have been
// handled, unless the error is [brokers.ErrNoResponders] or a
// [brokers.ReplyError] of the codes CodeNotOwned, CodeOverloaded or CodeInvalid,
// which say that it was not. What must not be lost is an event: publish it.
//
// # Order
//
// None between requests. A request to a key's actor waits its turn behind what
// came to the key before it, on the owner of its partition.
//
// # Example
//
// A function that answers is in [Example]; examples/inquiry asks the actors of
// keys.
package requests
