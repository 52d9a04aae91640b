package actors

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// PID is the address of a key: any protoactor actor may send to it and request
// of it. A letter makes the key's actor if it has none, waits behind what runs,
// and is not durable. A request is answered with [*RequestError] if it fails:
// wrapping [ErrNotOwned] where this process does not own the key now. A letter
// that cannot be delivered and has no sender becomes an actor.DeadLetterEvent.
//
// The PID stays good over passivation, epochs and rebalances.
func (s *System) PID(group, topic string, key []byte) *actor.PID {
	return actor.NewPID(address(group, topic), keyID(key))
}

// Ask sends a request to a PID and waits for the answer, which must be an R. The
// error is ctx's cause, a [*RequestError] that was answered, or says that the
// answer is of another type.
func Ask[R any](ctx context.Context, sys *actor.ActorSystem, to *actor.PID, request any) (R, error) {
	var none R
	inbox := make(answers, 1)
	pid, _ := sys.ProcessRegistry.Add(inbox, "ask"+sys.ProcessRegistry.NextId())
	defer sys.ProcessRegistry.Remove(pid)
	sys.Root.RequestWithCustomSender(to, request, pid)
	select {
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case answer := <-inbox:
		switch a := answer.(type) {
		case R:
			return a, nil
		case *RequestError:
			return none, a
		case *actor.DeadLetterResponse:
			return none, fmt.Errorf("actors: nobody is at %v", to)
		}
		return none, fmt.Errorf("actors: answer to %T is a %T", request, answer)
	}
}

// answers is the process behind one Ask: protoactor's own Future takes no
// context and races with its time-out (protoactor-go issue 1145).
type answers chan any

// SendUserMessage takes the first answer and drops others.
func (a answers) SendUserMessage(_ *actor.PID, message any) {
	select {
	case a <- actor.UnwrapEnvelopeMessage(message):
	default:
	}
}

// SendSystemMessage and Stop have nothing to do.
func (a answers) SendSystemMessage(*actor.PID, any) {}
func (a answers) Stop(*actor.PID)                   {}

// RequestError is the answer to a request that failed.
type RequestError struct{ Err error }

// Error is the cause's text.
func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// keyID is the id of a key's PID: the key itself where it is valid UTF-8 and
// does not begin with "~", else "~" and base64url.
func keyID(key []byte) string {
	if utf8.Valid(key) && (len(key) == 0 || key[0] != '~') {
		return string(key)
	}
	return "~" + base64.RawURLEncoding.EncodeToString(key)
}

func idKey(id string) ([]byte, error) {
	if coded, ok := strings.CutPrefix(id, "~"); ok {
		return base64.RawURLEncoding.DecodeString(coded)
	}
	return []byte(id), nil
}

// address is where the keys of a group and topic live: no address of a network,
// and the same in every process.
func address(group, topic string) string { return "keys:" + group + "/" + topic }

func (r *region) pid(c *cell) *actor.PID {
	return actor.NewPID(address(r.sub.cfg.Group, r.part.Topic()), keyID([]byte(c.key)))
}

// keyProcess receives what is sent to the keys of one topic. protoactor caches
// it in the PID for ever, so it holds no state of a key or an epoch: it looks
// the key up each time.
type keyProcess struct {
	sub   *subscription
	topic string
}

func (s *subscription) registerProcess() {
	processes := make(map[string]*keyProcess, len(s.cfg.Topics))
	for _, topic := range s.cfg.Topics {
		processes[address(s.cfg.Group, topic)] = &keyProcess{s, topic}
	}
	s.sys.actors.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		p, ok := processes[pid.Address]
		return p, ok
	})
}

// SendUserMessage queues a letter at the key.
func (p *keyProcess) SendUserMessage(pid *actor.PID, message any) {
	_, value, sender := actor.UnwrapEnvelope(message)
	key, err := idKey(pid.Id)
	if err == nil {
		err = p.deliver(key, &letter{kind: letterUser, value: value, sender: sender})
	}
	if err != nil {
		p.refuse(pid, value, sender, err)
	}
}

func (p *keyProcess) deliver(key []byte, l *letter) error {
	r := p.sub.region(p.topic, key)
	if r == nil {
		return ErrNotOwned
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.stops.Load()&stopEnding != 0 {
		return ErrNotOwned
	}
	c := r.letterHome(key)
	if c == nil {
		return ErrNotOwned
	}
	if int(c.letters) >= r.sub.cfg.MaxBacklog {
		return ErrBacklogFull
	}
	r.post(c, l)
	r.spawn()
	return nil
}

// letterHome is the cell that a letter to a key goes to; nil where keys have no
// actors of their own.
func (r *region) letterHome(key []byte) *cell {
	switch {
	case r.sub.plan.strict:
		return r.sched.laneCell()
	case r.sub.cfg.Unordered:
		return nil
	}
	return r.sched.keyed(key)
}

func (p *keyProcess) refuse(pid *actor.PID, value any, sender *actor.PID, err error) {
	sys := p.sub.sys.actors
	if sender != nil {
		sys.Root.Send(sender, &RequestError{Err: err})
		return
	}
	sys.EventStream.Publish(&actor.DeadLetterEvent{PID: pid, Message: value})
}

// SendSystemMessage takes the end of a child, which the key watches; keys
// themselves cannot be watched, as they have no end.
func (p *keyProcess) SendSystemMessage(pid *actor.PID, message any) {
	if ended, ok := message.(*actor.Terminated); ok {
		p.SendUserMessage(pid, ended)
	}
}

// Stop ends the key's actor once nothing waits for it, as passivation does.
func (p *keyProcess) Stop(pid *actor.PID) {
	key, err := idKey(pid.Id)
	if err == nil {
		err = p.deliver(key, &letter{kind: letterPassivate})
	}
	if err != nil {
		p.sub.log.Debug("key could not be stopped", zap.String("id", pid.Id), zap.Error(err))
	}
}
