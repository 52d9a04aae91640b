// Package balance decides which partitions a member of a group attaches to, for
// brokers that keep members apart but do not share partitions out among them, and
// with [Even] who is to have which for those that let a member say so.
//
// It is pure: it does no I/O, starts no goroutine and is told the time. A driver
// tells a [Tracker] what its members say of themselves, and does what
// [Tracker.Decide] says. The broker alone excludes: a member that sees its group
// wrongly costs balance, never order.
package balance
