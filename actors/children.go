package actors

import (
	"context"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/supervision"
)

// Spawn makes a child of the key: an ordinary protoactor actor, for work that
// has a life of its own. After a panic it is restarted as Subscription.Children
// allows, without the message that it panicked on; its end reaches the key as a
// letter, *actor.Terminated. It is told to end when the key's actor ends, which
// does not wait for it and hears no more of it.
//
// Unlike what is staged, a child begins at once, also if Receive fails later. The
// name is unique among the children that the key's actor has now: if it is taken
// the error is actor.ErrNameExists, and the PID that of the child that has it.
// Other errors say why the child could not be made, or that the epoch is over.
func (c *Context) Spawn(props *actor.Props, name string) (*actor.PID, error) {
	if taken := c.cell.child(name); taken != nil {
		return taken, actor.ErrNameExists
	}
	pid, err := c.region.spawnChild(c.cell, props, name)
	if err != nil {
		return nil, err
	}
	e := c.cell.extras()
	if e.children == nil {
		e.children = make(map[string]*actor.PID)
	}
	e.children[name] = pid
	c.region.observe(func() Event {
		place := c.region.place(c.item)
		place.Key = []byte(c.cell.key)
		return ChildSpawned{place, name, pid}
	})
	return pid, nil
}

// spawnChild has the partition actor make a child of a key.
func (r *region) spawnChild(c *cell, props *actor.Props, name string) (*actor.PID, error) {
	reply := make(chan spawned, 1)
	r.sub.sys.actors.Root.Send(r.actor, &spawnChild{
		props: props, of: childOf{key: c.key, kind: c.kind, name: name}, reply: reply,
	})
	select {
	case s := <-reply:
		return s.pid, s.err
	case <-r.ctx.Done(): // nobody answers when the partition actor has ended
		return nil, context.Cause(r.ctx)
	}
}

func (c *cell) child(name string) *actor.PID {
	if c.extra == nil {
		return nil
	}
	return c.extra.children[name]
}

// loseChild forgets the child that a letter says has ended. It returns false if
// it was not one of this instance.
func (c *cell) loseChild(l *letter) bool {
	ended, is := c.child(l.child), l.value.(*actor.Terminated).Who
	if ended == nil || !ended.Equal(is) {
		return false
	}
	delete(c.extra.children, l.child)
	return true
}

// stopChildren ends the children of a key whose actor has ended.
func (r *region) stopChildren(c *cell) {
	if c.extra == nil {
		return
	}
	for _, child := range c.extra.children {
		r.sub.sys.actors.Root.Stop(child)
	}
	c.extra.children = nil
}

// ChildSupervisor is a protoactor SupervisorStrategy that restarts a failing
// child at once, within its own budget, and stops it beyond that. Unlike
// protoactor's strategies it counts the failures of a window only, and each
// child's alone. It may be shared by several parents.
type ChildSupervisor struct {
	window supervision.RestartWindow
	log    *zap.Logger

	mu sync.Mutex
	// children have a budget for as long as protoactor has statistics for them,
	// which is the child's life, restarts included.
	children map[statistics]*supervision.Restarts
}

type statistics = weak.Pointer[actor.RestartStatistics]

// NewChildSupervisor returns a strategy with a budget per child. A nil logger
// logs nothing.
func NewChildSupervisor(window supervision.RestartWindow, log *zap.Logger) *ChildSupervisor {
	if log == nil {
		log = zap.NewNop()
	}
	return &ChildSupervisor{window: window, log: log, children: make(map[statistics]*supervision.Restarts)}
}

// HandleFailure is called by protoactor in the parent's turn.
func (s *ChildSupervisor) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, stats *actor.RestartStatistics, reason, message any) {
	if s.allows(stats, time.Now()) {
		s.log.Warn("child restarted", zap.String("child", child.Id), zap.Any("reason", reason), zap.String("message", typeName(message)))
		parent.RestartChildren(child)
		return
	}
	s.log.Error("child stopped: too many restarts", zap.String("child", child.Id), zap.Any("reason", reason))
	parent.StopChildren(child)
}

// allows books a failure and says whether the child may be restarted.
func (s *ChildSupervisor) allows(stats *actor.RestartStatistics, now time.Time) bool {
	child := weak.Make(stats)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.children[child]
	if r == nil {
		r = supervision.NewRestarts(s.window)
		s.children[child] = r
		runtime.AddCleanup(stats, s.forget, child)
	}
	return r.Record(now)
}

func (s *ChildSupervisor) forget(child statistics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.children, child)
}
