// Package backoff says how long to wait between attempts.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Jittered is how long to wait after a number of failures before the last: it
// doubles from least to most, and is between its half and itself by chance, so
// that many who failed together do not come back together.
func Jittered(least, most time.Duration, failures int) time.Duration {
	d := most
	if failures < 62 && least <= d>>failures {
		d = least << failures
	}
	return d - rand.N(d/2+1)
}
