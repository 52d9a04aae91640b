//go:build race

package sagas

// The race detector slows all down, so that limits of time do not hold.
const raceEnabled = true
