package memory

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// faults is what the server does wrong on purpose.
type faults struct {
	delivery  stall
	acks      stall
	publishes stall
	voidAcks  countdown
	onPublish publishHook
	// lostConfirms are publishes that are stored and not confirmed.
	lostConfirms countdown
}

// countdown is a fault that happens a number of times.
type countdown struct{ left atomic.Int64 }

func (c *countdown) set(n int) { c.left.Store(int64(n)) }

// take says whether the fault happens now.
func (c *countdown) take() bool {
	return c.left.Load() > 0 && c.left.Add(-1) >= 0
}

// publishHook judges messages before they are stored.
type publishHook struct {
	set   atomic.Bool
	mu    sync.Mutex
	judge func(brokers.Message) error
}

func (h *publishHook) verdict(m *brokers.Message) error {
	if !h.set.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.judge == nil {
		return nil
	}
	return h.judge(m.Clone())
}

// OnPublish has f judge every message before it is stored. An error of f keeps
// the message out: a [*brokers.SendError] is reported as it is, any other error
// as [brokers.Refused]. f is called by one goroutine at a time and must not call
// the server; nil ends the judging.
func (s *Server) OnPublish(f func(brokers.Message) error) {
	h := &s.faults.onPublish
	h.mu.Lock()
	defer h.mu.Unlock()
	h.judge = f
	h.set.Store(f != nil)
}

// FailPublishes keeps the next n messages out, as [Server.OnPublish] does with
// err. It takes the place of the judge set before.
func (s *Server) FailPublishes(n int, err error) {
	s.OnPublish(func(brokers.Message) error {
		if n--; n < 0 {
			return nil
		}
		return err
	})
}

// HoldPublishes stores and confirms nothing until release is called. Publishers
// wait, as they do for a broker that has no memory left.
func (s *Server) HoldPublishes() (release func()) { return s.faults.publishes.hold() }

// LoseConfirms stores the next n messages and reports them as
// [brokers.Unknown], as a connection does that breaks before the confirmation.
func (s *Server) LoseConfirms(n int) { s.faults.lostConfirms.set(n) }

// HoldDelivery lets Fetch return nothing until release is called.
func (s *Server) HoldDelivery() (release func()) { return s.faults.delivery.hold() }

// DelayDelivery lets Fetch return messages d after they were at hand. 0 ends it.
func (s *Server) DelayDelivery(d time.Duration) { s.faults.delivery.setDelay(d) }

// HoldAcks keeps acknowledgements from the server until release is called.
// What an epoch that ends meanwhile had acknowledged is delivered again.
func (s *Server) HoldAcks() (release func()) {
	open := s.faults.acks.hold()
	return func() {
		open()
		for _, e := range s.openEpochs() {
			e.sendGathered()
		}
	}
}

// DelayAcks has acknowledgements reach the server after d, those of that time
// together, as an AckInterval does. 0 ends it.
func (s *Server) DelayAcks(d time.Duration) { s.faults.acks.setDelay(d) }

// VoidAcks refuses the next n acknowledgements, as a broker does that takes the
// sender for a former owner: nothing is acknowledged and the epoch ends.
func (s *Server) VoidAcks(n int) { s.faults.voidAcks.set(n) }

// Kill throws a member out of its group for ever, as the broker sees a process
// that died: its partitions are lost without a drain and go to the other
// members. The member itself sees its epochs end, and accepts nothing more.
func (s *Server) Kill(group, member string) error {
	return s.throwOut(group, member, func(sub *subscription) { sub.killed = true })
}

// Expel throws a member out of its group, as the broker does with one whose
// session has expired: its partitions are lost without a drain. It joins again
// at once, and gets a partition again when its user has closed the lost epoch.
func (s *Server) Expel(group, member string) error {
	return s.throwOut(group, member, func(sub *subscription) { sub.group.join(sub) })
}

func (s *Server) throwOut(group, member string, then func(*subscription)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return fmt.Errorf("%w: group %q has no members", brokers.ErrInvalid, group)
	}
	i := slices.IndexFunc(g.members, func(m *subscription) bool { return m.cfg.Member == member })
	if i < 0 {
		return fmt.Errorf("%w: group %q has no member %q", brokers.ErrInvalid, group, member)
	}
	sub := g.members[i]
	sub.lost(fmt.Errorf("%w: member %q thrown out by the broker", brokers.ErrRevoked, member))
	then(sub)
	g.rebalance()
	return nil
}

// Rebalance wants every partition of the group back from its owner, with a
// drain, and gives it to the next member; to the same one if there is no other.
func (s *Server) Rebalance(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return
	}
	for _, sh := range g.shares {
		if sh.owner == nil || sh.owner.recalled {
			continue
		}
		sh.heir = g.after(sh.owner.sub)
		g.recall(sh.owner)
	}
	g.rebalance()
}
