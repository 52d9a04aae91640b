// Package sagatest tests stores of sagas, and sagas: [TestStore] is what every
// sagas.Store must pass.

package sagatest
