package actortest

import (
	"fmt"
	"reflect"

	"github.com/asynkron/protoactor-go/actor"
)

// Probe is an actor of the test's: keys answer it and send to it, as to any
// actor of their process. Its letters are its [Inbox].
type Probe struct {
	*Inbox
	pid    *actor.PID
	system *actor.ActorSystem
}

// letter is what a probe got.
type letter struct {
	to     string
	value  any
	sender *actor.PID
}

// Probe makes an actor of that name, which no other actor of the kit's system has.
func (k *Kit) Probe(name string) *Probe {
	k.t.Helper()
	box := &mailbox{story: k.story, name: name}
	pid, ok := k.actors.ProcessRegistry.Add(box, name)
	if !ok {
		k.t.Fatalf("actortest: there is an actor %q already", name)
	}
	return &Probe{
		pid: pid, system: k.actors,
		Inbox: &Inbox{
			story: k.story, codec: k.codec, name: fmt.Sprintf("probe %q", name), within: patience, last: new(Received),
			holds: func(e *entry) bool {
				l, ok := e.what.(letter)
				return ok && l.to == name
			},
		},
	}
}

// PID is the probe's address.
func (p *Probe) PID() *actor.PID { return p.pid }

// Send sends a letter that names no sender.
func (p *Probe) Send(to *actor.PID, v any) { p.system.Root.Send(to, v) }

// Request sends a letter with the probe as its sender: the answer arrives here,
// an *actors.RequestError if it fails.
func (p *Probe) Request(to *actor.PID, v any) { p.system.Root.RequestWithCustomSender(to, v, p.pid) }

// Sender is who sent the letter that was taken last; nil if nobody.
func (p *Probe) Sender() *actor.PID { return p.last.Sender }

// Reply answers the letter that was taken last. Without a sender the test fails.
func (p *Probe) Reply(v any) {
	p.story.t.Helper()
	if p.last.Sender == nil {
		p.story.t.Fatalf("actortest: Reply of %s: the last letter has no sender", p.name)
	}
	p.Request(p.last.Sender, v)
}

// Forward sends on the letter that was taken last, from its own sender.
func (p *Probe) Forward(to *actor.PID) {
	p.system.Root.RequestWithCustomSender(to, p.last.Value, p.last.Sender)
}

// Watch has the probe told of an actor's end, by an *actor.Terminated; at once
// if there is no such actor. Keys have no end and cannot be watched, their
// children can.
func (p *Probe) Watch(pid *actor.PID) {
	process, _ := p.system.ProcessRegistry.Get(pid) // without one, of the dead-letter process
	process.SendSystemMessage(pid, &actor.Watch{Watcher: p.pid})
}

// ExpectTerminated expects that the end of an actor arrives next.
func (p *Probe) ExpectTerminated(pid *actor.PID) {
	p.story.t.Helper()
	e := p.next(p.within)
	if e != nil {
		if end, ok := p.last.Value.(*actor.Terminated); ok && end.Who.Equal(pid) {
			return
		}
	}
	p.story.fail(e, p.within, fmt.Sprintf("the end of %s at %s", pid.Id, p.name))
}

// mailbox is the process behind a probe: it puts letters straight into the story.
type mailbox struct {
	story *story
	name  string
}

// SendUserMessage takes a letter.
func (m *mailbox) SendUserMessage(_ *actor.PID, message any) {
	_, v, from := actor.UnwrapEnvelope(message)
	m.story.add(entry{what: letter{m.name, v, from}})
}

// SendSystemMessage takes the end of what is watched.
func (m *mailbox) SendSystemMessage(_ *actor.PID, message any) {
	if end, ok := message.(*actor.Terminated); ok {
		m.story.add(entry{what: letter{m.name, end, end.Who}})
	}
}

// Stop has no effect: a probe lives as long as its kit.
func (m *mailbox) Stop(*actor.PID) {}

// undelivered is a letter that reached nobody.
type undelivered struct {
	to    string
	value any
}

// hearUndelivered has letters that reach nobody told in the story.
func (k *Kit) hearUndelivered() {
	k.actors.EventStream.Subscribe(func(message any) {
		d, ok := message.(*actor.DeadLetterEvent)
		if !ok {
			return
		}
		if _, system := d.Message.(actor.SystemMessage); system {
			return
		}
		k.story.add(entry{what: undelivered{d.PID.GetId(), d.Message}})
	})
}

// ExpectUndelivered expects a letter that reaches nobody: in protoactor's words,
// a dead letter. Others are passed over.
func (k *Kit) ExpectUndelivered(v any) {
	k.t.Helper()
	e := k.story.next(k.within, func(e *entry) bool {
		u, ok := e.what.(undelivered)
		return ok && reflect.DeepEqual(u.value, v)
	})
	if e == nil {
		k.story.fail(nil, k.within, fmt.Sprintf("%s, which reaches nobody", value(v)))
	}
}
