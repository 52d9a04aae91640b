// Package sagas defines and runs sagas: work in several steps, of which each commits
// by itself, and that are compensated in reverse when one cannot be done.
//
// A [Definition] has compensatable steps, then at most one [Pivot], then
// [Retriable] ones. A step is a [Call] of a function or a command that is
// [Send]-ed and answered. [Definition.Begin] and [Definition.Advance] say what an
// event leads to: an [Instance] to store, and commands, calls and timers to carry
// out after that; they are pure, see the example. A [Runner] does that: it keeps
// instances in a [Store], publishes commands through the store's outbox, and takes
// replies from a topic.
//
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Definitions: ..., Store: store, Replies: "replies", DeadLetters: "dead"})
//	system, err := actors.NewSystem(actors.Config{}, runner.Subscription("checkout", broker))
//	handle, err := runner.Start(ctx, "order-7", checkout{Order: "order-7"})
//	instance, err := handle.Wait(ctx)
//
// # Guarantee
//
// An instance ends [Completed], or [Compensated], or it is [Stuck] and waits for
// an operator. A transition is one transaction: state, log, timers, what it sends,
// and the reply that led to it, which has its effect once. That a step is intended is stored before it is asked for, so one
// whose outcome is unknown is compensated, too (or queried: [Step.Query]). Past
// the pivot it only goes forward. Commands may be sent more than once, with the
// same idempotency key; participants must do each once.
//
// # Order
//
// Steps run one at a time, and are compensated in reverse. A step's commands,
// its compensation and its queries must reach the participant in the order in
// which they were sent: they have the saga's id as their key.
package sagas
