package supervision

import "time"

// RestartWindow bounds how often an actor may be restarted: at most Max times
// within any span of Within, both ends included. It is the budget of one child;
// siblings do not share it.
type RestartWindow struct {
	// Max is how many restarts a window may hold. Negative is none. Defaults
	// to 10.
	Max int
	// Within is the length of the window. Negative is the child's whole life.
	// Defaults to 10 s.
	Within time.Duration
}

// The defaults of a RestartWindow, which are protoactor's.
const (
	defaultRestarts      = 10
	defaultRestartWindow = 10 * time.Second
)

// Restarts are the failures of one child, as far as its RestartWindow reaches
// back. It is not safe for concurrent use.
type Restarts struct {
	window RestartWindow
	// failures are the last Max, in a ring; next is the oldest once it is full.
	failures []time.Time
	next     int
}

// NewRestarts returns the budget of a child that has not failed yet.
func NewRestarts(w RestartWindow) *Restarts {
	w.Max = orDefault(w.Max, defaultRestarts)
	if w.Within == 0 {
		w.Within = defaultRestartWindow
	}
	return &Restarts{window: w}
}

// Record counts a failure and says whether the child may be restarted: fewer
// than Max other failures lie within the window that ends now. If not, stop the
// child or escalate; a child that lives on all the same is judged by the same
// rule again.
func (r *Restarts) Record(now time.Time) (allowed bool) {
	if r.window.Max < 0 {
		return false
	}
	if len(r.failures) < r.window.Max {
		r.failures = append(r.failures, now)
		return true
	}
	oldest := r.failures[r.next]
	r.failures[r.next] = now
	r.next = (r.next + 1) % r.window.Max
	return r.window.Within > 0 && now.Sub(oldest) > r.window.Within
}
