package supervision_test

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/supervision"
)

// recovered runs f as a runtime does.
func recovered(f func()) (err *supervision.PanicError) {
	defer func() { err = supervision.NewPanicError(recover(), debug.Stack()) }()
	f()
	return nil
}

func explode() { panic(errBoom) }

func TestPanicError(t *testing.T) {
	err := recovered(explode)
	if err.Error() != "panic: boom" {
		t.Errorf("text: %v", err)
	}
	if !errors.Is(err, errBoom) {
		t.Error("does not unwrap to its value")
	}
	if !bytes.HasPrefix(err.Stack, []byte("panic(")) || !bytes.Contains(err.Stack, []byte("explode")) {
		t.Errorf("stack does not begin at the panic:\n%s", err.Stack)
	}
}

func TestPanicErrorOfAnotherValue(t *testing.T) {
	err := recovered(func() { panic(42) })
	if err.Error() != "panic: 42" || errors.Unwrap(err) != nil {
		t.Errorf("got %v, unwrapping to %v", err, errors.Unwrap(err))
	}
}

func TestPanicErrorBoundsAndOwnsItsStack(t *testing.T) {
	stack := []byte(strings.Repeat("frame\n", 10_000))
	err := supervision.NewPanicError("x", stack)
	stack[0] = 'F'
	if len(err.Stack) != supervision.MaxStack || err.Stack[0] != 'f' {
		t.Errorf("%d bytes, beginning with %q", len(err.Stack), err.Stack[:5])
	}
}
