//go:build race

package main

// The race detector makes the data set a matter of minutes.
const raceEnabled = true
