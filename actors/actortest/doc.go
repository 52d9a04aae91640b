// Package actortest tests handlers of package actors: with the real runtime,
// over the in-process broker, in virtual time.
//
// # Use
//
// A [Kit] is one subscription at work. It is made in a bubble of testing/synctest,
// where hours of back-off pass in milliseconds:
//
//	func TestChargeIsRetried(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			kit := actortest.New(t, actors.Subscription{Actor: billing, Policy: policy})
//			kit.Publish("alice", OrderPlaced{Total: 7})
//			kit.ExpectRetried(1, time.Second)
//			kit.ExpectPublished("invoices", Invoice{Customer: "alice", Total: 7})
//			kit.ExpectAcked()
//			kit.ExpectCommitted(0)
//		})
//	}
//
// Everything that happens goes into one story: what is published and handled,
// every verdict and acknowledgement, partitions coming and going, letters, log
// lines. An expectation waits, in virtual time, for the next entry of its kind,
// and takes it, so that equal expectations speak of successive entries. One that
// fails ends the test and prints the story, with virtual times.
//
// # Probes
//
//   - [Scope]: what becomes of messages: handled, retried, parked, dead-lettered,
//     discarded, acknowledged, committed, redelivered; order, silence, log lines.
//     [Kit] has its methods; [Scope.Key] and [Scope.Within] narrow it.
//   - [Inbox]: what arrives at a topic or a probe: by value, type or condition; n
//     at once; none; fishing.
//   - [Probe]: an actor of the test's, to ask keys, answer them and watch children.
//   - [Kit.Crash], [Kit.RebalanceAway], [Kit.LosePartitions]: what a broker and a
//     process do to each other. More faults are in [memory.Server], by
//     [Kit.Server].
//   - [Broker] and [Sender] stand in where code is given a broker or a publisher
//     and there is no actor.
//
// # Order and time
//
// What one key does has an order in the story. What different keys do in the same
// virtual instant has none: narrow the [Scope] to a key, or let time part them. A
// policy without jitter (supervision.Constant) makes exact delays.
//
// Expectations belong in the goroutine of the test. When one returns, everything
// is at rest that does not wait for time to pass, so what a handler wrote may be
// read.
//
// # Race detector
//
// It may crash where two processors run the timers of one bubble
// (golang.org/issue/78156). Until that is mended, give such tests one, with
// -race -cpu 1 or a file that is built with the tag race:
//
//	var _ = runtime.GOMAXPROCS(1)
package actortest
