package brokertest

import "time"

// call is a call of the driver that runs beside the test. Its goroutine never
// touches the test: a driver that hangs must fail the test, not the process.
type call[T any] struct {
	name  string
	done  chan struct{}
	value T
	err   error
}

// start runs f beside the test.
func start[T any](name string, f func() (T, error)) *call[T] {
	c := &call[T]{name: name, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.value, c.err = f()
	}()
	return c
}

// startErr is start for what returns an error only.
func startErr(name string, f func() error) *call[struct{}] {
	return start(name, func() (struct{}, error) { return struct{}{}, f() })
}

// wait returns what the call did. It ends the test if that takes longer than
// the contexts of within, whose heeding is part of what is tested.
func (c *call[T]) wait(e *env) (T, error) {
	e.Helper()
	select {
	case <-c.done:
	case <-time.After(2 * e.h.Wait):
		e.Fatalf("%s: did not return within %v", c.name, 2*e.h.Wait)
	}
	return c.value, c.err
}

// returns runs f, and ends the test if it does not return.
func (e *env) returns(name string, f func() error) error {
	e.Helper()
	_, err := startErr(name, f).wait(e)
	return err
}

// together runs f n times at once, and fails the test on an error.
func (e *env) together(n int, name string, f func() error) {
	e.Helper()
	var calls []*call[struct{}]
	for range n {
		calls = append(calls, startErr(name, f))
	}
	for _, c := range calls {
		_, err := c.wait(e)
		e.noErr(err, name)
	}
}
