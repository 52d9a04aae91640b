package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// commits sends the positions of a subscription's epochs: all that have changed in
// one request, each AckInterval, or at once when an epoch is to end. A position is
// sent by the membership under which its partition is owned, and for no epoch that
// has ended; so none moves back or passes what a later owner has not settled.
type commits struct {
	s    *subscription
	poke chan struct{} // of one: somebody waits

	// sending is held while a request is under way.
	sending sync.Mutex

	mu      sync.Mutex
	waiting map[*partition][]chan error
	bare    bool // the cluster takes no metadata as long as ours
	err     error
}

func newCommits(s *subscription) *commits {
	return &commits{s: s, poke: make(chan struct{}, 1), waiting: map[*partition][]chan error{}}
}

// flush waits until the cluster has the position of an epoch that settles no more.
// An error means that it may not.
func (c *commits) flush(ctx context.Context, p *partition) error {
	done := make(chan error, 1)
	c.mu.Lock()
	c.waiting[p] = append(c.waiting[p], done)
	c.mu.Unlock()
	wake(c.poke)
	select {
	case err := <-done:
		return err
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until no request is under way.
func (c *commits) settle() {
	c.sending.Lock()
	c.sending.Unlock() //nolint:staticcheck // the wait is all that is wanted
}

// run sends until the subscription ends.
func (c *commits) run() {
	beat := time.NewTicker(c.s.cfg.AckInterval)
	defer beat.Stop()
	for failures := 0; ; {
		select {
		case <-c.s.ctx.Done():
			return
		case <-c.poke:
		case <-beat.C:
		}
		err := c.send(c.s.ctx)
		if c.note(err); err == nil {
			failures = 0
			continue
		}
		if failures++; !c.s.b.client.pause(c.s.ctx, failures-1) {
			return
		}
		wake(c.poke)
	}
}

func (c *commits) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// fault is why the last request failed; nil if it did not.
func (c *commits) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// pendingCommit is the position of an epoch that is to be sent.
type pendingCommit struct {
	p *partition
	progress
}

// send sends what has changed. An error says that some of it is to be sent again.
func (c *commits) send(ctx context.Context) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.sendLocked(ctx)
}

// hurry is send for who does not wait for a request that is under way: what is not
// sent is delivered again.
func (c *commits) hurry(ctx context.Context) {
	if c.sending.TryLock() {
		defer c.sending.Unlock()
		_ = c.sendLocked(ctx) // as said
	}
}

func (c *commits) sendLocked(ctx context.Context) error {
	as, owned := c.s.ownership()
	due := c.gather(owned)
	if len(due) == 0 {
		return nil
	}
	if as.generation == noGeneration {
		return nil // all epochs are about to end
	}
	codes, err := c.commit(ctx, as, due)
	if err != nil {
		for i := range due {
			due[i].p.feed.unanswered()
		}
		return err
	}
	for i := range due {
		code, answered := codes[due[i].p.place]
		if !answered {
			code = int16(kafkago.RequestTimedOut)
		}
		if failed := c.committed(as, &due[i], code); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// gather collects what has changed, and answers those who wait for what has not.
func (c *commits) gather(owned []*partition) []pendingCommit {
	var due []pendingCommit
	for _, p := range owned {
		if p.committer != nil {
			continue
		}
		at := p.feed.progress()
		if !at.changed {
			if at.final { // else who begins to wait just now may wait for more
				c.answer(p, nil)
			}
			continue
		}
		if c.isBare() {
			at.text = ""
		}
		due = append(due, pendingCommit{p, at})
	}
	return due
}

func (c *commits) isBare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bare
}

// commit sends one request.
func (c *commits) commit(ctx context.Context, as identity, due []pendingCommit) (map[place]int16, error) {
	offsets := make([]GroupOffset, len(due))
	for i := range due {
		d := &due[i]
		offsets[i] = GroupOffset{Topic: d.p.topic, Partition: d.p.place.partition, Next: d.position, Metadata: d.text}
	}
	return c.store(ctx, as, offsets)
}

func (c *commits) store(ctx context.Context, as identity, offsets []GroupOffset) (map[place]int16, error) {
	codes, err := c.s.b.client.commitOffsets(ctx, c.s.cfg.Group, as, offsets)
	if err != nil {
		c.s.b.client.forgetCoordinator(groupCoordinator, c.s.cfg.Group)
	}
	return codes, err
}

// committed does what the cluster's answer to one position means. An error says
// that it is to be sent again.
func (c *commits) committed(as identity, d *pendingCommit, code int16) error {
	err := codeError(code)
	switch {
	case err == nil:
		d.p.feed.stored(d.progress)
		if c.awaited(d.p) {
			wake(c.poke) // it may have settled more meanwhile
		}
		return nil
	case errors.Is(err, kafkago.OffsetMetadataTooLarge):
		c.mu.Lock()
		c.bare = true
		c.mu.Unlock()
	case errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.IllegalGeneration), errors.Is(err, kafkago.FencedInstanceID):
		if c.s.member.disowned(as, err) {
			return nil
		}
	case errors.Is(err, kafkago.RebalanceInProgress), transient(err):
		c.s.b.client.forgetCoordinator(groupCoordinator, c.s.cfg.Group)
	default:
		c.answer(d.p, positionError(c.s.cfg.Group, d.p.place, err))
	}
	return positionError(c.s.cfg.Group, d.p.place, err)
}

// awaited says whether somebody waits for an epoch's position.
func (c *commits) awaited(p *partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting[p]) > 0
}

// answer tells who waits for an epoch's position.
func (c *commits) answer(p *partition, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, done := range c.waiting[p] {
		done <- err
	}
	delete(c.waiting, p)
}

// choose has the cluster store where epochs are to begin.
func (c *commits) choose(ctx context.Context, places []place, begin map[place]beginning) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	as, _ := c.s.ownership()
	if as.generation == noGeneration {
		return errExpelled
	}
	offsets := make([]GroupOffset, len(places))
	for i, p := range places {
		b := begin[p]
		offsets[i] = GroupOffset{Topic: p.topic, Partition: p.partition, Next: b.offset, Metadata: b.memo.text(b.offset)}
	}
	codes, err := c.store(ctx, as, offsets)
	if err != nil {
		return err
	}
	for p, code := range codes {
		if err := codeError(code); err != nil {
			return positionError(c.s.cfg.Group, p, err)
		}
	}
	return nil
}
