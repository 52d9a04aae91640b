package responding

import (
	"context"
	"sync"
	"time"
)

// limit is the context of one request. It is what [context.WithDeadline] returns,
// but there is a timer only for who asks for Done: to most handlers a deadline is
// something to look at, and the timer is the dearest part of answering them.
type limit struct {
	context.Context // the pool's
	at              time.Time

	mu      sync.Mutex
	err     error           // once it was seen to be over
	awaited context.Context // nil until Done is called
	cancel  context.CancelFunc
}

// within returns a context that ends at a time, with parent, or with end.
func within(parent context.Context, at time.Time) *limit {
	if d, ok := parent.Deadline(); ok && d.Before(at) {
		at = d
	}
	return &limit{Context: parent, at: at}
}

// Deadline implements [context.Context].
func (l *limit) Deadline() (time.Time, bool) { return l.at, true }

// Done implements [context.Context].
func (l *limit) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.awaited == nil {
		l.awaited, l.cancel = context.WithDeadline(l.Context, l.at)
		if l.look() != nil {
			l.cancel()
		}
	}
	return l.awaited.Done()
}

// Err implements [context.Context].
func (l *limit) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look()
}

// Value implements [context.Context]. By it package context finds what to cancel
// with this one, and the cause.
func (l *limit) Value(key any) any {
	l.mu.Lock()
	from := l.Context
	if l.awaited != nil {
		from = l.awaited
	}
	l.mu.Unlock()
	return from.Value(key)
}

// end ends it, as a request is answered.
func (l *limit) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.look() == nil {
		l.err = context.Canceled
	}
	if l.awaited != nil {
		l.cancel()
	}
}

// look says why it is over; nil while it is not. It needs l.mu.
func (l *limit) look() error {
	switch {
	case l.err != nil:
	case l.awaited != nil: // what is said must not come before Done is closed
		l.err = l.awaited.Err()
	case l.Context.Err() != nil:
		l.err = l.Context.Err()
	case !time.Now().Before(l.at):
		l.err = context.DeadlineExceeded
	}
	return l.err
}
