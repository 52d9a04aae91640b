//go:build race

package oteltracing_test

import "runtime"

// Go's race detector crashes where timers of one synctest bubble are run by two
// processors at once (golang.org/issue/78156), so there is one.
var _ = runtime.GOMAXPROCS(1)
