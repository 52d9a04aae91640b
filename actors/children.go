package actors

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/supervision"
)

// Spawn makes a child of the key: an ordinary protoactor actor, for work that
// has a life of its own. It is restarted after a panic as Subscription.Children
// allows; its end reaches the key as a letter, *actor.Terminated. It ends with
// the key's actor at the latest. Unlike what is staged, it begins at once, also
// if Receive fails. The name is unique among the key's children.
func (c *Context) Spawn(props *actor.Props, name string) (*actor.PID, error) {
	reply := make(chan spawned, 1)
	r := c.region
	r.sub.sys.actors.Root.Send(r.actor, &spawnChild{
		props: props, name: keyID([]byte(c.cell.key)) + "/" + name, key: c.Self(), reply: reply,
	})
	s := <-reply
	if s.err != nil {
		return nil, s.err
	}
	e := c.cell.extras()
	if e.children == nil {
		e.children = make(map[string]*actor.PID)
	}
	e.children[s.pid.Id] = s.pid
	r.observe(func() Event {
		place := r.place(c.item)
		place.Key = []byte(c.cell.key)
		return ChildSpawned{place, name, s.pid}
	})
	return s.pid, nil
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
// child's alone.
type ChildSupervisor struct {
	window supervision.RestartWindow
	log    *zap.Logger

	mu       sync.Mutex
	children map[string]*supervision.Restarts
}

// NewChildSupervisor returns a strategy with a budget per child. A nil logger
// logs nothing.
func NewChildSupervisor(window supervision.RestartWindow, log *zap.Logger) *ChildSupervisor {
	if log == nil {
		log = zap.NewNop()
	}
	return &ChildSupervisor{window: window, log: log, children: make(map[string]*supervision.Restarts)}
}

func (s *subscription) childSupervisor() *ChildSupervisor {
	return NewChildSupervisor(s.cfg.Children, s.log)
}

// HandleFailure is called by protoactor in the parent's turn.
func (s *ChildSupervisor) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	if s.allows(child.Id, time.Now()) {
		s.log.Warn("child restarted", zap.String("child", child.Id), zap.Any("reason", reason), zap.String("message", typeName(message)))
		parent.RestartChildren(child)
		return
	}
	s.log.Error("child stopped: too many restarts", zap.String("child", child.Id), zap.Any("reason", reason))
	parent.StopChildren(child)
}

// allows books a failure and says whether the child may be restarted; one that
// may not is forgotten, as it ends.
func (s *ChildSupervisor) allows(child string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.children[child]
	if r == nil {
		r = supervision.NewRestarts(s.window)
		s.children[child] = r
	}
	if r.Record(now) {
		return true
	}
	delete(s.children, child)
	return false
}
