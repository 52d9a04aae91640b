package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/supervision"
)

// partitionActor is the real protoactor actor of one partition and epoch. It is
// the parent of the children that its keys spawn, so that they are supervised,
// and end with the epoch. Messages do not go through its mailbox: a mailbox
// must never be the only owner of a message that is not acknowledged.
type partitionActor struct {
	region   *region
	children map[string]childOf // by PID
	made     int
}

// childOf says whose child an actor is, and by which name.
type childOf struct {
	key  string
	kind cellKind
	name string
}

// spawnChild asks the partition actor for a child on behalf of a key.
type spawnChild struct {
	props *actor.Props
	of    childOf
	reply chan<- spawned
}

type spawned struct {
	pid *actor.PID
	err error
}

// Receive spawns children, which must happen in their parent's turn, and passes
// the news of their end on.
func (p *partitionActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *spawnChild:
		pid, err := p.spawn(ctx, m)
		if err == nil {
			p.children[pid.Id] = m.of
		}
		m.reply <- spawned{pid, err}
	case *actor.Terminated:
		if of, mine := p.children[m.Who.Id]; mine {
			delete(p.children, m.Who.Id)
			p.region.childEnded(of, m)
		}
	}
}

// spawn makes a child. Its PID is new, also if its name was had before: the
// former child may still be ending. A panic is of the user's making, who gave the
// props, and would restart this actor and all children with it.
func (p *partitionActor) spawn(ctx actor.Context, m *spawnChild) (pid *actor.PID, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("actors: make child %q: %w", m.of.name, supervision.NewPanicError(v, nil))
		}
	}()
	p.made++
	return ctx.SpawnNamed(m.props, fmt.Sprintf("%s/%s#%d", keyID([]byte(m.of.key)), m.of.name, p.made))
}

// childEnded tells a key of the end of its child.
func (r *region) childEnded(of childOf, ended *actor.Terminated) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.find(of.key, of.kind); c != nil {
		r.post(c, &letter{kind: letterChild, value: ended, child: of.name})
		r.spawn()
	}
}

func (r *region) spawnPartitionActor() *actor.PID {
	p := &partitionActor{region: r, children: make(map[string]childOf)}
	props := actor.PropsFromProducer(func() actor.Actor { return p },
		actor.WithSupervisor(NewChildSupervisor(r.sub.cfg.Children, r.sub.log)))
	return r.sub.sys.actors.Root.SpawnPrefix(props, fmt.Sprintf("%s/%s/%d", r.sub.cfg.Group, r.part.Topic(), r.part.ID()))
}

// stopPartitionActor ends the actor and its children, and waits for it.
func (r *region) stopPartitionActor() {
	stopped := make(answers, 1)
	sys := r.sub.sys.actors
	pid, _ := sys.ProcessRegistry.Add(watcher{stopped}, "watch"+sys.ProcessRegistry.NextId())
	defer sys.ProcessRegistry.Remove(pid)
	if p, alive := sys.ProcessRegistry.Get(r.actor); alive {
		p.SendSystemMessage(r.actor, &actor.Watch{Watcher: pid})
	}
	sys.Root.Stop(r.actor)
	limit := time.NewTimer(drainGrace)
	defer limit.Stop()
	select {
	case <-stopped:
	case <-limit.C:
		r.log.Error("a child of a key goes on although its partition has ended")
	}
}

// watcher tells of the end of an actor.
type watcher struct{ answers }

// SendSystemMessage takes the Terminated.
func (w watcher) SendSystemMessage(pid *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); ok {
		w.SendUserMessage(pid, message)
	}
}
