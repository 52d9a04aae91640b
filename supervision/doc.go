// Package supervision decides what becomes of a message that could not be
// handled, and carries it to the dead-letter topic and back.
//
// It is pure: no I/O, no clock, no goroutine. A [Policy] turns a [Failure] into
// a [Verdict] and the runtime carries it out, so every choice can be tested
// with a table and replayed from a log: the same failure always gets the same
// verdict, its jitter included.
//
// # Guarantee
//
// No verdict loses a message in silence. The zero Policy retries with back-off;
// after the last attempt it dead-letters if there is a target and parks if
// there is none. Only a rule, a mark or OnError discards, and with a reason.
// A message fault burns an attempt; an infrastructure fault ([Suspend]) and a
// cancellation ([GiveBack]) burn none.
//
// # Ordering
//
// Retry, Park, Suspend and GiveBack leave the message undecided: nothing of its
// key may start before it. DeadLetter and Discard decide it.
//
// # Order of judgement
//
// The first that applies wins:
//
//  1. cancellation: the handler's context had been ended by a drain or a
//     revocation, or the error wraps [brokers.ErrRevoked]: GiveBack;
//  2. Policy.OnError, if it answers;
//  3. Policy.Rules, in order;
//  4. the outermost mark on the error: [Permanent], [RetryAfter],
//     [Discardable], [Infrastructure];
//  5. [ErrTooManyDeliveries]: as Permanent;
//  6. the default: Retry until MaxAttempts, then DeadLetter or Park.
//
// A handler that overruns Policy.Timeout fails with its own
// context.DeadlineExceeded, which is a message fault like any other.
//
// # Use
//
//	policy := supervision.Policy{
//		DeadLetter: "orders.dead",
//		Rules: []supervision.Rule{
//			supervision.On(ErrNoSuchProduct).DeadLetter(),
//			supervision.OnType[*net.OpError]().Infrastructure(),
//		},
//	}
//	verdict := policy.Decide(supervision.Failure{Err: err, Message: &m, Attempt: 1})
package supervision
