// Package sagatest tests sagas, and stores of sagas.
//
//   - [Begin] is a [Script]: given events, expect commands, calls, the state and what
//     is compensated, of one instance, without a store, a broker or time.
//   - [World] runs sagas in virtual time, with participants that are a function.
//   - [EachCrash] tries a crash at every transition of a scenario.
//   - [TestStore] is what every sagas.Store must pass; TestFastReplies and
//     TestWaitingIsCheap are for stores that are to be used by many.
//
// A test of a saga, in virtual time and at each crash:
//
//	func TestBooking(t *testing.T) {
//		sagatest.EachCrash(t, definition, func(w *sagatest.World[booking]) (booking, func(sagatest.Ended[booking])) {
//			w.Answer = func(m *brokers.Message) (sagas.Result, string) { return sagas.Accepted, "" }
//			return booking{}, func(e sagatest.Ended[booking]) { ... }
//		})
//	}
//
// # Guarantee and order
//
// What a probe expects it takes, so that equal expectations speak of successive
// things; they come in the order of the instance's transitions. Sagas have no order
// among each other.
//
// # Race detector
//
// It may crash where two processors run the timers of one bubble: see package
// actortest.
package sagatest
