//go:build !race

package sagas

const raceEnabled = false
