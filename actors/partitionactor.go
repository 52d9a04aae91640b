package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// partitionActor is the real protoactor actor of one partition and epoch. It is
// the parent of the children that its keys spawn, so that they are supervised,
// and end with the epoch. Messages do not go through its mailbox: a mailbox
// must never be the only owner of a message that is not acknowledged.
type partitionActor struct{}

// spawnChild asks the partition actor for a child on behalf of a key.
type spawnChild struct {
	props *actor.Props
	name  string
	key   *actor.PID
	reply chan<- spawned
}

type spawned struct {
	pid *actor.PID
	err error
}

// Receive spawns children. A spawn must happen in the parent's own turn.
func (partitionActor) Receive(ctx actor.Context) {
	m, ok := ctx.Message().(*spawnChild)
	if !ok {
		return
	}
	pid, err := ctx.SpawnNamed(m.props, m.name)
	if err == nil {
		// The key watches: its Terminated comes as a letter.
		sendWatch(ctx.ActorSystem(), pid, m.key)
	}
	m.reply <- spawned{pid, err}
}

func sendWatch(sys *actor.ActorSystem, child, watcher *actor.PID) {
	if p, ok := sys.ProcessRegistry.Get(child); ok {
		p.SendSystemMessage(child, &actor.Watch{Watcher: watcher})
	}
}

func (r *region) spawnPartitionActor() *actor.PID {
	props := actor.PropsFromProducer(func() actor.Actor { return partitionActor{} },
		actor.WithSupervisor(r.sub.childSupervisor()))
	return r.sub.sys.actors.Root.SpawnPrefix(props, fmt.Sprintf("%s/%s/%d", r.sub.cfg.Group, r.part.Topic(), r.part.ID()))
}

// stopPartitionActor ends the actor and its children, and waits for it.
func (r *region) stopPartitionActor() {
	stopped := make(answers, 1)
	sys := r.sub.sys.actors
	pid, _ := sys.ProcessRegistry.Add(watcher{stopped}, "watch"+sys.ProcessRegistry.NextId())
	defer sys.ProcessRegistry.Remove(pid)
	sendWatch(sys, r.actor, pid)
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
