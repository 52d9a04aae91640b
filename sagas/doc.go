// Package sagas defines sagas and advances them: work in several steps, of which
// each commits by itself, and that are compensated in reverse when one cannot be
// done. This is their pure part, without storage and messaging.
//
// A [Definition] has compensatable steps, then at most one [Pivot], then
// [Retriable] ones. A step is a [Call] of a function or a command that is
// [Send]-ed and answered. [Definition.Begin] and [Definition.Advance] say what an
// event leads to: an [Instance] to store, and commands, calls and timers to carry
// out after that. See the example.
//
// # Guarantee
//
// An instance ends [Completed], or [Compensated], or it is [Stuck] and waits for
// an operator. That a step is intended is stored before it is asked for, so one
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
