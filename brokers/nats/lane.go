package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/backoff"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// lane is a member's attachment to one partition: it stands by, owns, and stands
// by again, in a goroutine of its own, until it is told to leave.
type lane struct {
	sub      *subscription
	slot     balance.Slot
	consumer string
	filters  []string // the subjects of the partition's messages
	mapped   bool     // of a stream that others made
	next     string   // where pulls are sent
	unpin    string
	topic    topic // set anew at each attempt to own

	ctx       context.Context // ends when it is to stand by no longer
	cancel    context.CancelFunc
	recovered chan struct{} // of one: the connection was lost and is back

	mu      sync.Mutex
	leaving bool
	owned   *partition // nil while it stands by
	err     error      // why it cannot stand by
	floor   uint64     // what the server said was acknowledged
	made    time.Time  // when the stream was made of which floor is true
	memory  *memory    // of the epoch before
}

func newLane(s *subscription, slot balance.Slot, t topic) *lane {
	l := &lane{
		sub: s, slot: slot, topic: t,
		consumer:  t.consumer(s.cfg.Group, slot.Partition),
		filters:   t.filters(slot.Partition),
		mapped:    t.mapped != nil,
		recovered: make(chan struct{}, 1),
	}
	l.next = "$JS.API.CONSUMER.MSG.NEXT." + t.stream + "." + l.consumer
	l.unpin = "$JS.API.CONSUMER.UNPIN." + t.stream + "." + l.consumer
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run attaches to the partition again and again until it is to leave.
func (l *lane) run() {
	defer l.cancel()
	for failures := 0; l.ctx.Err() == nil; {
		p, err := l.acquire()
		l.failed(err)
		if err != nil {
			l.pause(failures)
			failures++
			continue
		}
		failures = 0
		l.hold(p)
	}
}

// hold offers a partition and keeps it until its epoch has ended and its owner
// has closed it.
func (l *lane) hold(p *partition) {
	l.own(p)
	l.sub.offer(p, l)
	p.keep()
	l.noteEnd(p)
	l.sub.withdraw(p)
	select {
	case <-p.closed:
	case <-l.sub.life.Done():
	}
	l.own(nil)
}

// own sets what the lane owns.
func (l *lane) own(p *partition) {
	l.mu.Lock()
	l.owned = p
	l.mu.Unlock()
	l.sub.changed()
}

// leave has the lane end: at once if it stands by, else when its partition is
// given back. It returns that.
func (l *lane) leave() *partition {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
	l.cancel()
	return l.owned
}

// reconnected is told when the connection is back.
func (l *lane) reconnected() {
	l.mu.Lock()
	p := l.owned
	l.mu.Unlock()
	if p != nil {
		p.recovered()
	}
	select {
	case l.recovered <- struct{}{}:
	default:
	}
}

// acquire stands by until the partition is this member's, and returns its epoch.
func (l *lane) acquire() (*partition, error) {
	if err := l.renewTopic(); err != nil {
		return nil, err
	}
	info, err := l.open(l.ctx)
	if err != nil {
		return nil, err
	}
	f, err := newFeed(l)
	if err != nil {
		return nil, err
	}
	if err := f.standBy(l.ctx); err != nil {
		return nil, l.abandon(f, err)
	}
	if err := f.collect(l.ctx); err != nil {
		return nil, l.abandon(f, err)
	}
	p := newPartition(f, info.Config.PinnedTTL)
	err = p.beat(l.ctx)
	if err == nil {
		err = f.over()
	}
	if err != nil {
		if p.lease != nil {
			p.lease.Stop()
		}
		return nil, l.abandon(f, err)
	}
	l.remember(nil)
	return p, nil
}

// abandon gives up a feed before there was an epoch.
func (l *lane) abandon(f *feed, cause error) error {
	ctx, cancel := l.sub.b.request(l.sub.life)
	defer cancel()
	if l.sub.b.link.isCut() {
		cancel()
	}
	if err := f.release(ctx); err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	return cause
}

// renewTopic looks whether the stream is still the one that it was.
func (l *lane) renewTopic() error {
	t, err := l.sub.b.topics.fetch(l.ctx, l.slot.Topic)
	if err != nil {
		if errors.Is(err, brokers.ErrUnknownTopic) {
			l.sub.topicGone(l.slot.Topic)
		}
		return err
	}
	l.topic = t
	return l.sub.b.cfg.allows(t)
}

// pause waits before the next attempt, less if the connection is back.
func (l *lane) pause(failures int) { pause(l.ctx, failures, l.recovered) }

// pause waits before the next attempt, longer each time, until ctx ends or
// sooner brings something.
func pause(ctx context.Context, failures int, sooner <-chan struct{}) {
	timer := time.NewTimer(backoff.Jittered(50*time.Millisecond, 2*time.Second, failures))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-sooner:
	case <-ctx.Done():
	}
}

// failed notes why the lane cannot stand by; nil if it can.
func (l *lane) failed(err error) {
	if l.ctx.Err() != nil {
		return
	}
	switch {
	case errors.Is(err, errOtherKind), errors.Is(err, ErrPrefixUnsafe):
		l.sub.fail(err)
	case errors.Is(err, errPinLost), errors.Is(err, errGone):
		err = nil // it begins anew, which is no fault
	case unanswered(err):
		l.sub.b.link.silent(err)
	}
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	l.sub.changed()
}

// noteEnd keeps what the end of an epoch leaves to know, and lets go of a pin
// that the server still holds for it.
func (l *lane) noteEnd(p *partition) {
	cause := p.feed.over()
	if errors.Is(cause, errReleased) {
		return
	}
	broken := errors.Is(cause, errHole) || errors.Is(cause, errRepeated)
	if !broken || l.sub.b.nc.Stats().Reconnects != p.conn {
		l.remember(p.feed.remember())
	} // else somebody has reset the consumer, and wants it all again
	if !broken {
		return
	}
	ctx, cancel := l.sub.b.request(l.sub.life)
	defer cancel()
	if info, err := l.info(ctx); err == nil && pinned(info) == p.feed.pin {
		p.feed.unpin(ctx)
	}
}

func (l *lane) remember(m *memory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory = m
}

// recall returns what the epoch before has settled, if the stream is the same.
func (l *lane) recall() *memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.memory != nil && !l.memory.stream.Equal(l.topic.created) {
		l.memory = nil
	}
	return l.memory
}

// noteFloor keeps what the server says is acknowledged as a prefix.
func (l *lane) noteFloor(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.made.Equal(l.topic.created) {
		l.floor, l.made = 0, l.topic.created
	}
	l.floor = max(l.floor, seq)
}

// seen says whether the server had a consumer here.
func (l *lane) seen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.made.IsZero()
}

// firstKnown is the first message that is not acknowledged, as far as this
// member knows; 0 if it does not.
func (l *lane) firstKnown() uint64 {
	m := l.recall()
	l.mu.Lock()
	defer l.mu.Unlock()
	first := uint64(0)
	if l.floor > 0 && l.made.Equal(l.topic.created) {
		first = l.floor + 1
	}
	if m != nil {
		first = max(first, m.first())
	}
	return first
}

// window bounds what is held ready.
func (l *lane) window() (messages, bytes int) {
	return min(l.sub.b.cfg.Prefetch, l.sub.cfg.MaxUnsettled), l.sub.b.cfg.PrefetchBytes
}

// state is what the member tells its group of the lane.
func (l *lane) state() (owned *partition, leaving bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owned, l.leaving, l.err
}
