package actors

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// Snapshot is what a system is doing, as plain data.
type Snapshot struct {
	At            time.Time              `json:"at"`
	Subscriptions []SubscriptionSnapshot `json:"subscriptions"`
}

// SubscriptionSnapshot is one subscription.
type SubscriptionSnapshot struct {
	Group  string   `json:"group"`
	Topics []string `json:"topics"`
	// Breaker is the state of the one for infrastructure faults; Fault the last
	// of these while it is not closed.
	Breaker string `json:"breaker"`
	Fault   string `json:"fault,omitempty"`
	Paused  bool   `json:"paused"`
	// Report is what has happened so far.
	Report Report `json:"report"`
	// Partitions are those owned now, by topic and number.
	Partitions []PartitionSnapshot `json:"partitions"`
}

// PartitionSnapshot is an owned partition.
type PartitionSnapshot struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     uint64 `json:"epoch"`
	Paused    bool   `json:"paused"`
	// Lag is how many messages wait in the broker; -1 if it does not say.
	Lag int64 `json:"lag"`
	// LowWaterMark: all up to this offset is settled; brokers.NoOffset if nothing
	// was in this epoch.
	LowWaterMark int64 `json:"low_water_mark"`
	// Gap is how many messages are settled above it, and GapAge how long the
	// message that follows the low-water mark has been waited for, while there is a
	// gap.
	Gap    int           `json:"gap"`
	GapAge time.Duration `json:"gap_age"`
	// Unsettled messages are here: InFlight of them with or before a handler, and
	// the others held at and behind waiting keys. Bytes are those of all.
	Unsettled int `json:"unsettled"`
	InFlight  int `json:"in_flight"`
	Bytes     int `json:"bytes"`
	// Publishing is how many decided messages wait for the confirmation of what
	// they have published.
	Publishing int `json:"publishing"`
	// Keys have an actor; Ready ones wait for a worker, and Running ones have one.
	Keys    int `json:"keys"`
	Ready   int `json:"ready"`
	Running int `json:"running"`
	// Parked is how many keys are.
	Parked int `json:"parked"`
	// Waiting are the keys that wait for their next attempt, the longest first; at
	// the most MaxWaiting of them.
	Waiting []WaitingKey `json:"waiting,omitempty"`
	// Holding is what the partition is held for at a limit.
	Holding string `json:"holding,omitempty"`
}

// WaitingKey is a key whose head has failed.
type WaitingKey struct {
	Key    string `json:"key"`
	Parked bool   `json:"parked"`
	// Offset and ID are those of the message at its head.
	Offset int64  `json:"offset"`
	ID     string `json:"id,omitempty"`
	// Error is the last one, of so many Attempts since Since.
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Since    time.Time `json:"since"`
	// Next is when it is tried again.
	Next time.Time `json:"next"`
	// Backlog is how many messages and letters it has, the head included.
	Backlog int `json:"backlog"`
}

// MaxWaiting bounds the waiting keys of a partition in a snapshot.
const MaxWaiting = 1024

// Snapshot looks at all partitions, one after the other; each is held up for the
// time that it takes to look at its waiting keys. It asks each broker once for
// the lags, within ctx.
func (s *System) Snapshot(ctx context.Context) Snapshot {
	shot := Snapshot{At: time.Now()}
	for _, sub := range s.subs {
		shot.Subscriptions = append(shot.Subscriptions, sub.snapshot(ctx))
	}
	return shot
}

func (s *subscription) snapshot(ctx context.Context) SubscriptionSnapshot {
	s.gate.mu.Lock()
	shot := SubscriptionSnapshot{
		Group: s.cfg.Group, Topics: slices.Clone(s.cfg.Topics), Report: s.counts.report(),
		Breaker: s.gate.breaker.State().String(), Partitions: []PartitionSnapshot{},
	}
	if s.gate.err != nil && s.gate.breaker.State() != supervision.BreakerClosed {
		shot.Fault = s.gate.err.Error()
	}
	s.gate.mu.Unlock()
	s.mu.RLock()
	shot.Paused = s.stops&stopPaused != 0
	s.mu.RUnlock()
	lags := s.lags(ctx)
	for _, r := range s.owned() {
		p := r.snapshot()
		lag, known := lags[home{p.Topic, p.Partition}]
		if p.Lag = lag; !known {
			p.Lag = -1
		}
		shot.Partitions = append(shot.Partitions, p)
	}
	slices.SortFunc(shot.Partitions, func(a, b PartitionSnapshot) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return shot
}

func (s *subscription) lags(ctx context.Context) map[home]int64 {
	lags := make(map[home]int64)
	for _, b := range s.cfg.Broker.Health(ctx).Subscriptions {
		if b.Group != s.cfg.Group {
			continue
		}
		for _, p := range b.Partitions {
			lags[home{p.Topic, p.Partition}] = p.Lag
		}
	}
	return lags
}

func (r *region) snapshot() PartitionSnapshot {
	holding := r.holding()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	unsettled := r.track.unsettled()
	p := PartitionSnapshot{
		Topic: r.part.Topic(), Partition: r.part.ID(), Epoch: r.part.Epoch(),
		Paused:       r.stops.Load()&(stopPaused|stopPartition) != 0,
		LowWaterMark: r.track.mark, Gap: r.track.gap(),
		Unsettled: unsettled, InFlight: unsettled - r.sched.held, Bytes: r.bytes, Publishing: r.deciding,
		Keys: len(r.sched.cells), Ready: r.sched.readyCells, Running: r.sched.running, Holding: holding,
	}
	if r.sched.lane != nil {
		p.Keys++
	}
	if p.Gap > 0 {
		p.GapAge = time.Duration(now - r.markMoved)
	}
	for c := range r.sched.waiting {
		if c.trouble != nil && c.head != nil {
			if c.trouble.parked {
				p.Parked++
			}
			p.Waiting = append(p.Waiting, r.waitingKey(c))
		}
	}
	slices.SortFunc(p.Waiting, func(a, b WaitingKey) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Key, b.Key))
	})
	p.Waiting = p.Waiting[:min(len(p.Waiting), MaxWaiting)]
	return p
}

func (r *region) waitingKey(c *cell) WaitingKey {
	tr := c.trouble
	k := WaitingKey{
		Key: c.key, Parked: tr.parked, Offset: brokers.NoOffset, Attempts: tr.attempts, Since: tr.first,
		Next: r.born.Add(time.Duration(tr.until)), Backlog: int(c.queued),
	}
	if tr.failure.Err != nil {
		k.Error = tr.failure.Err.Error()
	}
	if m := c.head.message; m != nil {
		k.Offset, k.ID = m.Offset, m.ID
	}
	return k
}
