package backoff

import (
	"testing"
	"time"
)

func TestJittered(t *testing.T) {
	const least, most = 20 * time.Millisecond, time.Second
	for failures, want := range map[int]time.Duration{0: least, 1: 2 * least, 5: 32 * least, 6: most, 61: most, 62: most, 1 << 40: most} {
		for range 100 {
			if got := Jittered(least, most, failures); got < want/2 || got > want {
				t.Fatalf("after %d failures: %v; want %v to %v", failures, got, want/2, want)
			}
		}
	}
}
