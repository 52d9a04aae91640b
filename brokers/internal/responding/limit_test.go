package responding

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var errWhy = errors.New("why")

// how a context ends, and what is to be seen of it then.
var endings = []struct {
	name       string
	end        func(l *limit, parent context.CancelCauseFunc)
	err, cause error
}{
	{"Deadline", func(*limit, context.CancelCauseFunc) { <-time.After(time.Second) }, context.DeadlineExceeded, context.DeadlineExceeded},
	{"Parent", func(_ *limit, cancel context.CancelCauseFunc) { cancel(errWhy) }, context.Canceled, errWhy},
	{"Answered", func(l *limit, _ context.CancelCauseFunc) { l.end() }, context.Canceled, context.Canceled},
}

// A limit ends as contexts do, whether Done was asked for before, after or never.
func TestLimit(t *testing.T) {
	for _, ending := range endings {
		for _, awaited := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/awaited=%v", ending.name, awaited), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					l := within(parent, time.Now().Add(time.Second))
					defer l.end()
					var child context.Context
					if awaited {
						var cancelChild context.CancelFunc
						child, cancelChild = context.WithCancel(l)
						defer cancelChild()
					}
					if err := l.Err(); err != nil || context.Cause(l) != nil {
						t.Fatalf("over at once: %v, cause %v", err, context.Cause(l))
					}
					ending.end(l, cancel)
					synctest.Wait()
					ended(l, t, ending.err, ending.cause)
					if awaited {
						ended(child, t, ending.err, ending.cause)
					}
					cancel(errors.New("too late")) // what was seen stays
					l.end()
					ended(l, t, ending.err, ending.cause)
				})
			})
		}
	}
}

func ended(ctx context.Context, t *testing.T, err, cause error) {
	t.Helper()
	if got := ctx.Err(); !errors.Is(got, err) {
		t.Errorf("Err is %v, not %v", got, err)
	}
	if got := context.Cause(ctx); !errors.Is(got, cause) {
		t.Errorf("the cause is %v, not %v", got, cause)
	}
	select {
	case <-ctx.Done():
	default:
		t.Error("Done is open")
	}
}

// The earlier deadline counts, and values are the parent's.
func TestLimitOfParent(t *testing.T) {
	type key struct{}
	soon := time.Now().Add(time.Hour)
	parent, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, 7), soon)
	defer cancel()
	l := within(parent, soon.Add(time.Hour))
	defer l.end()
	if at, ok := l.Deadline(); !ok || !at.Equal(soon) {
		t.Errorf("the deadline is %v", at)
	}
	for range 2 {
		if l.Value(key{}) != 7 {
			t.Errorf("the value is %v", l.Value(key{}))
		}
		l.Done()
	}
}

// A handler that does not wait costs no timer: the limit is all there is.
func TestLimitAllocations(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		l := within(context.Background(), time.Now().Add(time.Hour))
		if l.Err() != nil {
			t.Error("over at once")
		}
		l.end()
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}
