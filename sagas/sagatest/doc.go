// Package sagatest tests stores of sagas: [TestStore] is what every sagas.Store
// must pass.
package sagatest
