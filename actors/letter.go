package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
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
	switch {
	case e.Value != nil:
		return fmt.Sprintf("actors: no handler for a letter of type %T", e.Value)
	case e.Type == "":
		return "actors: no handler for messages without a type name"
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
	letterChild                       // the end of a child
	letterPassivate                   // end the instance, if nothing else waits
)

// letter is a message that did not come from the broker. It is not durable.
type letter struct {
	kind   letterKind
	value  any
	sender *actor.PID
	timer  *timer // of letterTimer and letterIdle
	child  string // the name, of letterChild
}

// post queues a letter. The region's lock is held.
func (r *region) post(c *cell, l *letter) {
	c.letters++
	r.sched.add(c, &item{letter: l})
}

// handleLetter handles what did not come from the broker. False ends the turn.
func (r *region) handleLetter(w *worker, it *item) bool {
	t, l := &w.turn, it.letter
	switch {
	case l.kind == letterPassivate:
		r.passivateNow(t, it)
		return true
	case t.stale(it), l.kind == letterChild && !t.cell.loseChild(l):
		return true
	}
	t.spend(l)
	t.reached = t.reached || l.kind != letterIdle
	err := r.begin(w)
	if err == nil {
		w.ctx.reset(t.cell, it, 1)
		err = r.call(w.ctx)
	}
	if r.sub.sys.cfg.Observe != nil {
		t.stop(r.now())
	}
	if err != nil {
		return r.failLetter(t, l, err)
	}
	return r.decide(w, it)
}

// failLetter ends a letter that failed. It is not retried, as nothing durable
// stands behind it: it is logged, and told to who asked.
func (r *region) failLetter(t *turn, l *letter, err error) (more bool) {
	r.log.Warn("letter to a key failed", zap.String("key", t.cell.key), zap.String("type", fmt.Sprintf("%T", l.value)), zap.Error(err))
	if l.sender != nil {
		r.sub.sys.actors.Root.Send(l.sender, &RequestError{Err: err})
	}
	if !isStartError(err) && !isPanic(err) {
		return true
	}
	r.finishInstance(t.cell)
	t.discarded = true
	return false
}

// deliverLetters sends what a handler staged to other actors.
func (r *region) deliverLetters(c *Context) {
	root := r.sub.sys.actors.Root
	for i := range c.staged.letters {
		l := &c.staged.letters[i]
		if l.respond {
			root.Send(l.to, l.value)
			continue
		}
		root.RequestWithCustomSender(l.to, l.value, c.Self())
	}
}

// refuseLetters refuses the letters that wait, in queues and stashes, as the
// epoch has ended.
func (r *region) refuseLetters() {
	var waiting []undelivered
	r.mu.Lock()
	for c := range r.sched.all() {
		waiting = r.lettersOf(waiting, c, c.head)
		if c.extra != nil {
			waiting = r.lettersOf(waiting, c, c.extra.stash)
		}
	}
	r.mu.Unlock()
	r.refuseAll(waiting)
}

func (r *region) refuseAll(letters []undelivered) {
	for _, u := range letters {
		r.sub.refuse(u.to, u.letter.value, u.letter.sender, ErrNotOwned)
	}
}

// undelivered is a letter and whom it was for.
type undelivered struct {
	to     *actor.PID
	letter *letter
}

func (r *region) lettersOf(found []undelivered, c *cell, chain *item) []undelivered {
	for it := chain; it != nil; it = it.next {
		if it.letter != nil && it.letter.kind == letterUser {
			found = append(found, undelivered{r.pid(c), it.letter})
		}
	}
	return found
}
