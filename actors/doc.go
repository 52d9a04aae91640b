// Package actors runs handlers over the partitions of a broker: one actor per
// key, one message of a key at a time, in order, many keys at once, under a
// supervision policy.
//
// # Guarantees
//
// Delivery is at least once. A message is acknowledged when it is settled: its
// handler returned nil and what it staged is confirmed, or a verdict ended it
// (discard, or a dead letter that the broker has confirmed). A crash, a lost
// partition or a drain that ran out of time has the unsettled ones delivered
// again; handlers must bear repeats.
//
// Messages of one key are handled one at a time in partition order, across
// retries, back-off, restarts and rebalances: none starts before its predecessor
// is decided. Different keys have no order. A failing or slow key holds back
// itself only, up to Subscription.MaxParked, MaxGap and MaxParkTime.
//
// What is in flight is bounded in messages and bytes, per partition and per
// process. Goroutines are bounded by Subscription.Concurrency; a key that backs
// off holds none.
//
// When a partition is taken away, the handlers' context ends with cause
// brokers.ErrRevoked. A handler that ignores it may overlap the partition's next
// owner: effects outside of the broker need a fence of their own.
//
// # Use
//
//	handler := actors.Func(func(ctx context.Context, m brokers.Message) error {
//		return book(ctx, m.Key, m.Payload)
//	})
//	sys, err := actors.NewSystem(actors.Config{Logger: log}, actors.Subscription{
//		Group: "billing", Broker: broker, Topics: []string{"orders"}, Actor: handler,
//		Policy: supervision.Policy{DeadLetter: "orders.dead"},
//	})
//	if err != nil {
//		return err
//	}
//	report, err := sys.Run(ctx) // until ctx ends; drains
//
// State per key, typed messages, requests between actors, timers and children
// come with [PerKey]; the examples show them.
package actors
