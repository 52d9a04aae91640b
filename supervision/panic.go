package supervision

import (
	"bytes"
	"fmt"
)

// MaxStack bounds the stack of a panic, in bytes, here and in dead letters.
const MaxStack = 8 << 10

// PanicError is a panic of a handler, made an error: a message fault like any
// other, unless a rule says otherwise: OnType[*PanicError]().
type PanicError struct {
	// Value is what was passed to panic.
	Value any
	// Stack is where, at most MaxStack bytes, innermost frames first.
	Stack []byte
}

// NewPanicError makes an error of a recovered value and of debug.Stack, called
// in the deferred function that recovered. It keeps a copy of the stack from
// the panic on, without the frames of the recovery.
func NewPanicError(value any, stack []byte) *PanicError {
	if i := bytes.Index(stack, []byte("\npanic(")); i >= 0 {
		stack = stack[i+1:]
	}
	return &PanicError{Value: value, Stack: bytes.Clone(stack[:min(len(stack), MaxStack)])}
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
