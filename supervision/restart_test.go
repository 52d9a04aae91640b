package supervision_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/supervision"
)

// record returns which of the failures, given in ms, may restart the child.
func record(w supervision.RestartWindow, failures ...int) []bool {
	restarts := supervision.NewRestarts(w)
	var allowed []bool
	for _, ms := range failures {
		allowed = append(allowed, restarts.Record(start.Add(time.Duration(ms)*time.Millisecond)))
	}
	return allowed
}

func TestRestartWindow(t *testing.T) {
	const yes, no = true, false
	within := func(most int, within time.Duration) supervision.RestartWindow {
		return supervision.RestartWindow{Max: most, Within: within}
	}
	tests := []struct {
		name     string
		window   supervision.RestartWindow
		failures []int
		want     []bool
	}{
		{"two bursts far apart", within(3, time.Second), []int{0, 10, 20, 5000, 5010, 5020}, []bool{yes, yes, yes, yes, yes, yes}},
		{"four in a window", within(3, time.Second), []int{0, 300, 600, 900}, []bool{yes, yes, yes, no}},
		{"once", within(3, time.Second), []int{0}, []bool{yes}},
		{"a window apart, two allowed", within(2, time.Second), []int{0, 1000, 2000, 3000, 4000}, []bool{yes, yes, yes, yes, yes}},
		{"a window apart, one allowed", within(1, time.Second), []int{0, 1000}, []bool{yes, no}},
		{"just over a window apart", within(1, time.Second), []int{0, 1001, 2002}, []bool{yes, yes, yes}},
		{"a child that lives on", within(1, time.Second), []int{0, 500, 1400, 2500}, []bool{yes, no, no, yes}},
		{"no restarts", within(-1, time.Second), []int{0, 5000}, []bool{no, no}},
		{"a whole life", within(2, -1), []int{0, 1_000_000, 2_000_000, 9_000_000}, []bool{yes, yes, no, no}},
		{
			"defaults",
			supervision.RestartWindow{},
			[]int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10_000, 20_001},
			[]bool{yes, yes, yes, yes, yes, yes, yes, yes, yes, yes, no, yes},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := record(test.window, test.failures...)
			for i := range got {
				if got[i] != test.want[i] {
					t.Fatalf("failures at %v ms: got %v, want %v", test.failures, got, test.want)
				}
			}
		})
	}
}

func TestSiblingsDoNotShareABudget(t *testing.T) {
	window := supervision.RestartWindow{Max: 1, Within: time.Second}
	for child := range 5 {
		if !supervision.NewRestarts(window).Record(start) {
			t.Errorf("child %d stopped at its first failure", child)
		}
	}
}

// A failure is allowed exactly if fewer than Max others lie in the window that
// ends with it.
func TestRestartWindowCountsOnlyTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := supervision.RestartWindow{
			Max:    rapid.IntRange(1, 5).Draw(t, "max"),
			Within: time.Duration(rapid.IntRange(1, 50).Draw(t, "within")),
		}
		restarts, now := supervision.NewRestarts(window), start
		var failures []time.Time
		for _, gap := range rapid.SliceOfN(rapid.IntRange(0, 40), 1, 100).Draw(t, "gaps") {
			now = now.Add(time.Duration(gap))
			inside := 0
			for _, f := range failures {
				if now.Sub(f) <= window.Within {
					inside++
				}
			}
			failures = append(failures, now)
			if got := restarts.Record(now); got != (inside < window.Max) {
				t.Fatalf("%+v: %d earlier failures in the window, allowed %v", window, inside, got)
			}
		}
	})
}
