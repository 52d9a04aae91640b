package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/staging"
)

// errTransaction is why an epoch has ended whose transaction cannot be made again.
var errTransaction = errors.New("a transaction was fenced, or has an unknown end")

// committer commits what an epoch of a Transactional subscription has staged, in
// transactions with its position. See [brokers.Stager].
//
// What fences it is threefold: the producer's epoch, which the next owner raises
// before it asks for the group's position; the membership under which the position
// is sent; and the epoch's context.
type committer struct {
	p    *partition
	tx   *Transactor
	poke chan struct{} // of one: somebody waits
	room chan struct{} // of one: less is staged
	done chan struct{} // closed when nothing is under way any more

	mu      sync.Mutex
	buffer  staging.Buffer
	waiting []chan error
	err     error
}

func newCommitter(p *partition, tx *Transactor) *committer {
	cfg := &p.sub.cfg
	return &committer{
		p: p, tx: tx, poke: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
		buffer: staging.Buffer{Most: cfg.MaxStaged, MostBytes: cfg.MaxStagedBytes},
	}
}

// stagingPartition is the partition of a Transactional subscription.
type stagingPartition struct{ *partition }

var _ brokers.Stager = stagingPartition{}

// Stage implements [brokers.Stager].
func (p stagingPartition) Stage(offset int64, messages ...brokers.Message) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return p.committer.stage(offset, messages)
}

// Full implements [brokers.Stager].
func (p stagingPartition) Full() bool { return p.committer.full() }

func (c *committer) stage(offset int64, messages []brokers.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch upTo, ended := c.p.feed.acknowledged(); {
	case ended:
		return fmt.Errorf("%w: %w", brokers.ErrRevoked, errReleased)
	case offset <= upTo:
		return fmt.Errorf("%w: offset %d was acknowledged, up to %d", brokers.ErrInvalid, offset, upTo)
	}
	c.buffer.Add(offset, messages)
	return nil
}

func (c *committer) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buffer.Full()
}

// flush waits until the cluster has the position of an epoch that settles no more,
// and what was staged up to there. An error means that it may not.
func (c *committer) flush(ctx context.Context) error {
	done := make(chan error, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, done)
	c.mu.Unlock()
	wake(c.poke)
	select {
	case err := <-done:
		return err
	case <-c.p.ctx.Done():
		return context.Cause(c.p.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer tells who waits that the cluster has it all.
func (c *committer) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, done := range c.waiting {
		done <- nil
	}
	c.waiting, c.err = nil, nil
}

// run commits until the epoch ends.
func (c *committer) run() {
	defer close(c.done)
	beat := time.NewTicker(c.p.sub.cfg.AckInterval)
	defer beat.Stop()
	for failures := 0; ; {
		select {
		case <-c.p.ctx.Done():
			return
		case <-c.poke:
		case <-beat.C:
		}
		err := c.commit()
		if err == nil {
			failures = 0
			continue
		}
		if c.fail(err, failures) || !c.p.sub.b.client.pause(c.p.ctx, failures) {
			return
		}
		failures++
		wake(c.poke)
	}
}

// commit makes a transaction of what has changed, if anything has.
func (c *committer) commit() error {
	c.mu.Lock() // what is settled now was staged before
	at := c.p.feed.progress()
	messages := c.buffer.Below(at.position)
	c.mu.Unlock()
	if !at.changed {
		if at.final { // else who begins to wait just now may wait for more
			c.answer()
		}
		return nil
	}
	as, _ := c.p.sub.ownership()
	if as.generation == noGeneration {
		return errExpelled // and the epoch is about to end
	}
	if err := c.transact(as, messages, at); err != nil {
		return err
	}
	c.p.feed.stored(at)
	c.mu.Lock()
	c.buffer.Drop(at.position)
	c.err = nil
	awaited := len(c.waiting) > 0
	c.mu.Unlock()
	wake(c.room)
	if awaited {
		wake(c.poke) // it may have settled more meanwhile
	}
	return nil
}

func (c *committer) transact(as identity, messages []brokers.Message, at progress) error {
	ctx := c.p.ctx
	if len(messages) > 0 {
		if _, err := c.tx.Publish(ctx, messages...); err != nil {
			return err
		}
	}
	of := Membership{Group: c.p.sub.cfg.Group, Member: as.member, Generation: int(as.generation), Instance: as.instance}
	offset := GroupOffset{Topic: c.p.topic, Partition: c.p.place.partition, Next: at.position, Metadata: at.text}
	if err := c.tx.SendOffsets(ctx, of, offset); err != nil {
		if membershipEnded(err) {
			c.p.sub.member.disowned(as, err)
		}
		return err
	}
	return c.tx.Commit(ctx)
}

// membershipEnded says whether the coordinator does not know a membership, or knows
// a later generation of it: while the group is joined anew, the one that this
// member is told of next.
func membershipEnded(err error) bool {
	return errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.IllegalGeneration) || errors.Is(err, kafkago.FencedInstanceID)
}

// fail does what it means that a transaction was not committed: it is aborted, to
// be made again; or the epoch ends, and it returns true.
func (c *committer) fail(err error, failures int) (ended bool) {
	c.mu.Lock()
	c.err = fmt.Errorf("kafka: transaction %q: %w", c.tx.id, err)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.p.ctx), c.p.sub.b.client.cfg.RequestTimeout)
	if c.p.ctx.Err() != nil { // nobody waits, but readers of what is open
		cancel()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(c.p.ctx), farewell)
	}
	defer cancel()
	abort := c.tx.Abort(ctx)
	if c.p.ctx.Err() != nil {
		return true
	}
	if abort != nil {
		c.p.sub.lose(c.p.feed, fmt.Errorf("%w: %w", errTransaction, abort))
		c.p.sub.log.Warn("kafka: lost a partition", zap.String("topic", c.p.topic), zap.Int32("partition", c.p.place.partition), zap.Error(abort))
		return true
	}
	if failures == 0 && !membershipEnded(err) && !errors.Is(err, errExpelled) {
		c.p.sub.log.Error("kafka: a transaction was aborted, and is made again", zap.String("id", c.tx.id), zap.Error(err))
	}
	return false
}

// fault is why nothing is committed, or what holds the partition; nil if all is well.
func (c *committer) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || !c.buffer.Full() {
		return c.err
	}
	n, bytes := c.buffer.Staged()
	upTo, _ := c.p.feed.acknowledged()
	return fmt.Errorf("kafka: partition %d of topic %q is held: %d staged messages, %d bytes, wait for the first message above offset %d to be settled",
		c.p.place.partition, c.p.topic, n, bytes, upTo)
}

// transactors makes the transactions of epochs that are to begin. Of those before
// none is open any more when it returns, so that the group's positions stay what
// they are.
func (s *subscription) transactors(ctx context.Context, places []place) (map[place]*Transactor, error) {
	if !s.cfg.Transactional {
		return nil, nil
	}
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		all    = map[place]*Transactor{}
		failed error
	)
	for _, at := range places {
		asking.Go(func() {
			tx, err := s.b.Transactor(ctx, transactionalID(s.cfg.Group, at), TransactorConfig{MaxMessageBytes: maxAnswer})
			mu.Lock()
			defer mu.Unlock()
			if all[at] = tx; err != nil {
				failed = fmt.Errorf("kafka: transactions of partition %d of topic %q: %w", at.partition, at.topic, err)
			}
		})
	}
	asking.Wait()
	return all, failed
}

// transactionalID is the producer's of a group's outputs from a partition. No name
// of a topic has a slash.
func transactionalID(group string, at place) string {
	return fmt.Sprintf("%s/%s/%d", group, at.topic, at.partition)
}
