package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
)

var (
	// ErrNotOwned answers a request to a key whose partition this process does
	// not own now. Ask again later, or the process that owns it.
	ErrNotOwned = errors.New("actors: key not owned here")
	// ErrBacklogFull answers a request to a key with MaxBacklog letters waiting.
	// Ask again later.
	ErrBacklogFull = errors.New("actors: backlog of the key is full")
	// ErrNoKey is the failure of a message without a key under UnkeyedRefuse.
	ErrNoKey = errors.New("actors: message has no key")
	// ErrAttemptTimeout is the cause of a handler's context when the policy's
	// Timeout has passed.
	ErrAttemptTimeout = errors.New("actors: attempt timed out")
	// ErrStashFull is returned by Stash when MaxBacklog items are stashed.
	ErrStashFull = errors.New("actors: stash is full")
	// ErrRunning is returned by Run of a system that was run before.
	ErrRunning = errors.New("actors: system has been run already")
)

// UnhandledError says that an actor has no handler for what it was sent.
type UnhandledError struct {
	// Type is the type name of a broker's message; "" for a letter, or if the
	// message has none.
	Type string
	// Value is the letter; nil for a broker's message.
	Value any
}

// Error names the type.
func (e *UnhandledError) Error() string {
	if e.Value != nil {
		return fmt.Sprintf("actors: no handler for a letter of type %T", e.Value)
	}
	if e.Type == "" {
		return "actors: message has no type name and the actor more than one handler"
	}
	return fmt.Sprintf("actors: no handler for messages of type %q", e.Type)
}

// ReceiveTimeout is the letter that a key gets when nothing reached it for the
// time it set with [Context.SetReceiveTimeout].
type ReceiveTimeout struct{}

// letterKind says what the runtime does around a letter.
type letterKind uint8

const (
	letterUser      letterKind = iota // sent to the PID
	letterTimer                       // of a timer
	letterIdle                        // the receive timeout
	letterPassivate                   // end the instance, if nothing else waits
)

// letter is a message that did not come from the broker. It is not durable.
type letter struct {
	kind   letterKind
	value  any
	sender *actor.PID
	timer  *timer // of letterTimer and letterIdle
}
