package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
)

// region is a partition for one epoch: the home of its key actors. It is the
// thin shell around three pure machines (scheduler, tracker, timers): it holds
// the lock and the clock, calls handlers, and carries out what the machines say.
//
// Messages come in by accept, in batches; workers take turns of one key each;
// conclude books what a turn did. Each of them takes the lock once.
type region struct {
	sub    *subscription
	part   brokers.Partition
	stager brokers.Stager // part, if the subscription is Transactional; else nil

	drainUntil time.Time // set when it begins
	log        *zap.Logger
	born       time.Time
	actor      *actor.PID // the partition actor, parent of the keys' children
	ctx        context.Context
	cancel     context.CancelCauseFunc
	scope      durable.Scope // of durable keys
	token      uint64

	stops  atomic.Uint32 // reasons to start nothing; see stop*
	inLine atomic.Bool   // for a worker; changed under the pool's lock

	mu      sync.Mutex
	sched   *scheduler
	track   *tracker
	timers  timerQueue
	alarm   *time.Timer
	alarmAt int64

	bytes      int // fetched and not settled
	workers    int
	deciding   int  // decisions whose effects are not confirmed
	committing int  // of these, turns of durable keys
	solo       bool // a suspicious message has the region for itself
	sinceAck   int  // settled since the last acknowledgement
	lastAck    int64
	markMoved  int64 // when the low-water mark did

	condemned map[string]struct{} // keys whose messages are dead-lettered
	overflow  bool                // at a limit, and said so
	closing   bool                // instances are being ended
	ended     bool                // nothing more is booked

	keys      []keyed       // of the batch being accepted
	roomy     chan struct{} // tells the fetch loop that there is room
	wantsRoom bool
	quiet     chan struct{} // tells drain that nothing runs
}

// Reasons to start nothing, as bits of region.stops.
const (
	stopEnding    uint32 = 1 << iota // revoked or shutting down
	stopPaused                       // by the user
	stopPartition                    // by the user, this partition alone
	stopSuspended                    // the subscription's breaker is open
)

// fetchBatch is the most messages of one fetch: large enough to make the cost
// of a fetch vanish, small enough that 4,096 in flight come in several.
const fetchBatch = 512

func newRegion(sub *subscription, part brokers.Partition) *region {
	ctx, cancel := context.WithCancelCause(part.Context())
	r := &region{
		sub: sub, part: part, born: time.Now(), ctx: ctx, cancel: cancel,
		scope: durable.Scope{Group: sub.cfg.Group, Topic: part.Topic(), Partition: part.ID()},
		sched: newScheduler(), track: newTracker(),
		roomy: make(chan struct{}, 1), quiet: make(chan struct{}, 1),
		log: sub.log.With(zap.String("topic", part.Topic()), zap.Int32("partition", part.ID())),
	}
	if sub.cfg.Transactional {
		r.stager = part.(brokers.Stager) // as Features.Transactions promises
	}
	return r
}

// now is the region's clock in nanoseconds.
func (r *region) now() int64 { return int64(time.Since(r.born)) }

// fetch reads the partition until it is revoked or its epoch ends.
func (r *region) fetch() error {
	for {
		limit, err := r.awaitRoom()
		if err != nil {
			return err
		}
		messages, err := r.part.Fetch(r.ctx, limit)
		if err != nil {
			return err
		}
		r.accept(messages)
	}
}

// accept queues fetched messages at their keys. Keys are computed before the
// lock is taken, as the user's function may parse payloads; the lock is let go
// in between, so that workers are not held up for a whole batch.
func (r *region) accept(messages []brokers.Message) {
	items := make([]item, len(messages))
	keys := r.keys[:0]
	total := 0
	for i := range messages {
		m := &messages[i]
		size := m.Size()
		total += size
		items[i] = item{message: m, size: int32(size)}
		key, ok := r.sub.cfg.Key(m)
		keys = append(keys, keyed{key, ok})
	}
	r.keys = keys
	r.sub.sys.budget.add(len(messages), total)
	const chunk = 64
	for i := 0; i < len(items); i += chunk {
		r.mu.Lock()
		for j := i; j < min(i+chunk, len(items)); j++ {
			r.enter(&items[j], keys[j])
		}
		r.spawn()
		r.mu.Unlock()
	}
}

type keyed struct {
	key []byte
	ok  bool
}

// enter books a message with the tracker and queues it at its key.
func (r *region) enter(it *item, k keyed) {
	it.place = r.track.fetched(it.message.Offset)
	r.bytes += int(it.size)
	c := r.home(k)
	if c.state == cellWaiting && c.held {
		it = it.detach()
	}
	r.sched.add(c, it)
}

// home is the cell where a message belongs.
func (r *region) home(k keyed) *cell {
	switch {
	case r.sub.plan.strict:
		return r.sched.laneCell()
	case r.sub.cfg.Unordered:
		return r.sched.ephemeral(string(k.key))
	case k.ok:
		return r.sched.keyed(k.key)
	case r.sub.cfg.Unkeyed == UnkeyedRefuse || r.sub.plan.durable != nil:
		c := r.sched.ephemeral("")
		c.kind = cellRefused
		return c
	case r.sub.cfg.Unkeyed == UnkeyedConcurrent:
		return r.sched.ephemeral("")
	}
	return r.sched.laneCell()
}

// awaitRoom blocks until the region may fetch, and says how much.
func (r *region) awaitRoom() (brokers.FetchLimit, error) {
	for {
		r.mu.Lock()
		limit, ok := r.room()
		r.wantsRoom = !ok
		r.mu.Unlock()
		if ok {
			if err := r.sub.sys.budget.await(r.ctx, r.part.Revoking()); err != nil {
				return limit, err
			}
			return limit, nil
		}
		select {
		case <-r.roomy:
		case <-r.part.Revoking():
			return limit, brokers.ErrRevoked
		case <-r.ctx.Done():
			return limit, context.Cause(r.ctx)
		}
	}
}

// room is what may be fetched now: within what may be in flight, and within what
// may be in flight and parked together, which is the broker's own limit.
func (r *region) room() (brokers.FetchLimit, bool) {
	cfg := &r.sub.cfg
	unsettled := r.track.unsettled()
	limit := brokers.FetchLimit{
		Messages: min(cfg.MaxInFlight-(unsettled-r.sched.held), cfg.MaxInFlight+cfg.MaxParked-unsettled, fetchBatch),
		Bytes:    cfg.MaxInFlightBytes - (r.bytes - r.sched.heldBytes),
	}
	if r.stops.Load() != 0 || r.overflowing() {
		return limit, false
	}
	return limit, limit.Messages > 0 && limit.Bytes > 0
}

// tellRoom wakes the fetch loop once it is worth its while: not for each message
// that is settled, but for a good part of what may be in flight, or when the
// workers would run dry.
func (r *region) tellRoom() {
	if !r.wantsRoom {
		return
	}
	limit, ok := r.room()
	if !ok {
		return
	}
	enough := limit.Messages >= min(fetchBatch, r.sub.cfg.MaxInFlight/2) && limit.Bytes >= r.sub.cfg.MaxInFlightBytes/4
	if enough || r.sched.readyCells == 0 {
		r.wantsRoom = false
		signal(r.roomy)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle books a message as settled.
func (r *region) settle(place uint64, size int32) {
	if r.track.settle(place) {
		r.settled(1, int(size))
	}
}

// settled gives back what so many messages, settled just now, took of the limits.
func (r *region) settled(messages, bytes int) {
	r.bytes -= bytes
	r.sinceAck += messages
	r.sub.sys.budget.sub(messages, bytes)
}

// acknowledge tells the driver what is settled, when there is enough of it, or
// when nothing more is to be expected soon. The driver gathers what it is told
// in turn, so this only saves calls.
func (r *region) acknowledge(now int64, atOnce bool) {
	const often, late = 256, int64(5 * time.Millisecond)
	if r.sinceAck == 0 || !atOnce && r.sinceAck < often && r.sched.readyCells > 0 && now-r.lastAck < late {
		return
	}
	r.sinceAck, r.lastAck = 0, now
	before := r.track.acked
	ack, ok := r.track.take()
	if !ok {
		return
	}
	if ack.UpTo != before {
		r.markMoved = now
	}
	if err := r.part.Ack(ack); err != nil {
		r.log.Debug("acknowledgement came after the end of the epoch", zap.Error(err))
		return
	}
	r.observe(func() Event { return Acknowledged{r.placeOf(), ack.UpTo, len(ack.Above)} })
}

// detach copies an item out of the batch it came in, whose memory would live as
// long as it waits.
func (it *item) detach() *item {
	if it.detached || it.message == nil {
		return it
	}
	m := it.message.Clone()
	c := *it
	c.message, c.detached = &m, true
	return &c
}
