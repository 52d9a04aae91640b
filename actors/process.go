package actors

import (
	"context"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// PID is the address of a key: any protoactor actor may send to it and request
// of it. A letter makes the key's actor if it has none. It waits its turn behind
// all that came for the key before, also behind a message that backs off or is
// parked, for as long as that takes; it is not durable, and not retried. A
// request is answered with [*RequestError] if it fails: wrapping [ErrNotOwned]
// where this process does not own the key now, or does not any more, and
// [ErrBacklogFull] where too many wait. A letter that cannot be delivered and has
// no sender becomes an actor.DeadLetterEvent.
//
// The PID stays good over passivation, epochs and rebalances. Stopping or
// poisoning it passivates the key's actor; it cannot be watched, as a key has no
// end.
//
// The key's partition is told by its hash, as publishers choose it by default. A
// key that lives elsewhere (another partitioner, or a Subscription.Key that is
// not the message's) is found once it has an actor. Under PerPartition, a key's
// PID is its partition's; under Unordered, and for messages that
// UnkeyedConcurrent handles, there is nobody to send to.
func (s *System) PID(group, topic string, key []byte) *actor.PID {
	return actor.NewPID(address(group, topic), keyID(key))
}

// Ask sends a request to a PID and waits for the answer, which must be an R. The
// error is ctx's cause, a [*RequestError] that was answered, [ErrNotOwned] if
// nobody is there, or says that the answer is of another type.
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
		case *RequestError:
			return none, a
		case *actor.DeadLetterResponse:
			return none, fmt.Errorf("%w: nobody is at %s/%s", ErrNotOwned, to.Address, to.Id)
		case R:
			return a, nil
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
		return p, ok && !s.sys.over.Load() // a later system may have the group
	})
}

// SendUserMessage queues a letter at the key.
func (p *keyProcess) SendUserMessage(pid *actor.PID, message any) {
	_, value, sender := actor.UnwrapEnvelope(message)
	if _, ok := value.(*actor.PoisonPill); ok {
		p.Stop(pid)
		return
	}
	to, err := parseID(pid.Id)
	if err == nil {
		err = p.deliver(to, &letter{kind: letterUser, value: value, sender: sender})
	}
	if err != nil {
		p.sub.refuse(pid, value, sender, err)
	}
}

func (p *keyProcess) deliver(to target, l *letter) error {
	r := p.sub.locate(p.topic, to)
	if r == nil {
		return ErrNotOwned
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stops.Load()&stopEnding != 0 {
		return ErrNotOwned
	}
	c := r.letterHome(to)
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

// locate is the region that a target lives in; nil if it is not here.
func (s *subscription) locate(topic string, to target) *region {
	if !to.lane {
		return s.region(topic, to.key)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.regions[home{topic, to.partition}]
}

// letterHome is the cell that a letter goes to; nil where there is none that
// could be found again.
func (r *region) letterHome(to target) *cell {
	cfg := &r.sub.cfg
	switch {
	case r.sub.plan.strict:
		return r.sched.laneCell()
	case cfg.Unordered || to.lane && cfg.Unkeyed != UnkeyedSerial:
		return nil
	case to.lane:
		return r.sched.laneCell()
	}
	return r.sched.keyed(to.key)
}

// refuse tells the sender of a letter why it was not delivered, or the event
// stream if there is none.
func (s *subscription) refuse(pid *actor.PID, value any, sender *actor.PID, err error) {
	sys := s.sys.actors
	if sender != nil {
		sys.Root.Send(sender, &RequestError{Err: err})
		return
	}
	sys.EventStream.Publish(&actor.DeadLetterEvent{PID: pid, Message: value})
}

// SendSystemMessage has nothing to do: keys cannot be watched, as they have no
// end.
func (p *keyProcess) SendSystemMessage(*actor.PID, any) {}

// Stop ends the key's actor once nothing waits for it, as passivation does.
func (p *keyProcess) Stop(pid *actor.PID) {
	to, err := parseID(pid.Id)
	if err != nil {
		p.sub.log.Debug("key could not be stopped", zap.Error(err))
		return
	}
	if r := p.sub.locate(p.topic, to); r != nil {
		r.dismiss(to)
	}
}

// dismiss ends the actor of a key, if it has one.
func (r *region) dismiss(to target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.sched.cells[string(to.key)]
	if to.lane || r.sub.plan.strict {
		c = r.sched.lane
	}
	if c != nil {
		c.leaving = true
		r.depart(c)
		r.spawn()
	}
}

// knows says whether the key has an actor, or messages, here.
func (r *region) knows(key []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sched.cells[string(key)] != nil
}

// likely is the region of the partition to which the key's hash leads.
func (s *subscription) likely(topic string, key []byte) *region {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.source == nil {
		return nil
	}
	if n := s.source.Partitions(topic); n > 0 {
		return s.regions[home{topic, brokers.PartitionOf(key, n)}]
	}
	return nil
}

// region is where a key lives, nil if not here. The partition follows from the
// key as publishers choose it by default; a key published otherwise is found
// while it has an actor here.
func (s *subscription) region(topic string, key []byte) *region {
	likely := s.likely(topic, key)
	if s.plan.strict || likely != nil && likely.knows(key) {
		return likely
	}
	for _, r := range s.owned() {
		if r != likely && r.part.Topic() == topic && r.knows(key) {
			return r
		}
	}
	return likely
}
