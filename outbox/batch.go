package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// chain are the rows of one lane in a batch. One is on its way at a time, so that
// none passes one that is refused.
type chain struct {
	lane  int64
	rows  []Row
	aside bool // they were put aside before
	all   bool // there are no others aside

	dead    *brokers.Message // the first row's dead letter, on its way instead of it
	failure supervision.Failure
	verdict supervision.Verdict
}

// reply is what became of the first row of a chain.
type reply struct {
	chain *chain
	err   error
}

// batch is what became of some rows.
type batch struct {
	done   []int64   // confirmed, dead-lettered or discarded
	oldest time.Time // when the first of these was stored
	park   []Row     // to be put aside, or aside and refused once more
	again  bool      // some are to be published again, for no fault of theirs
	stop   error     // what the policy stops the relay for
}

// chains parts the rows by lane. Those of lanes that wait go aside.
func (r *Relay) chains(rows []Row, b *batch) (all []*chain) {
	byLane := make(map[int64]*chain, len(rows))
	made := make([]chain, 0, len(rows)) // all of them lie together, and most have one row, where it is
	for i := range rows {
		row := &rows[i]
		if _, waits := r.held[row.Lane]; waits {
			b.park = append(b.park, *row)
			continue
		}
		c := byLane[row.Lane]
		if c == nil {
			made = append(made, chain{lane: row.Lane, rows: rows[i : i+1 : i+1]})
			c = &made[len(made)-1]
			byLane[row.Lane] = c
			all = append(all, c)
			continue
		}
		c.rows = append(c.rows, *row)
	}
	return all
}

// publish publishes what may be published of the chains.
func (r *Relay) publish(ctx context.Context, chains []*chain, b *batch) {
	total := 0
	for _, c := range chains {
		total += len(c.rows)
	}
	replies := make(chan reply, 2*total) // each may be followed by its dead letter
	flying := 0
	for _, c := range chains {
		flying += r.send(ctx, c, replies, b)
	}
	for ; flying > 0; flying-- {
		got := r.await(ctx, replies)
		c := got.chain
		if !r.settled(ctx, c, got.err, b) {
			if c.dead != nil {
				flying += r.send(ctx, c, replies, b)
			}
			continue
		}
		b.done = append(b.done, c.rows[0].Seq)
		b.oldest = earlier(b.oldest, c.rows[0].At)
		c.rows, c.dead = c.rows[1:], nil
		if c.aside { // the next one has attempts of its own
			r.held[c.lane] = time.Now()
		}
		if ctx.Err() == nil && b.stop == nil {
			flying += r.send(ctx, c, replies, b)
		}
	}
	for _, c := range chains {
		if c.aside && c.all && len(c.rows) == 0 {
			delete(r.held, c.lane)
		}
	}
}

// await waits for a reply: if ctx has ended not for long.
func (r *Relay) await(ctx context.Context, replies <-chan reply) reply {
	select {
	case got := <-replies:
		return got
	case <-ctx.Done():
		r.closePublisher() // so that there is a reply
		return <-replies
	}
}

// send sends the first row of a chain, or its dead letter, and returns how many
// are on their way.
func (r *Relay) send(ctx context.Context, c *chain, replies chan<- reply, b *batch) int {
	if len(c.rows) == 0 {
		return 0
	}
	row := &c.rows[0]
	if row.Fault != nil {
		r.hold(c, r.failed(c, row.Fault), supervision.Verdict{Kind: supervision.Park, After: unreadableAgain, Reason: "it cannot be read"}, b)
		return 0
	}
	m := row.Message
	if c.dead != nil {
		m = *c.dead
	}
	if err := r.publisher.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) { replies <- reply{c, err} }); err != nil {
		replies <- reply{c, err}
	}
	return 1
}

// unreadableAgain is when an unreadable row is looked at again: a newer program may
// lead by then, but this one will not read it any better.
const unreadableAgain = time.Minute

// settled says whether the first row of a chain is done with. If not, it was
// judged.
func (r *Relay) settled(ctx context.Context, c *chain, err error, b *batch) bool {
	switch {
	case err == nil && c.dead != nil:
		r.observe(DeadLettered{c.rows[0], c.failure, c.verdict.Reason})
		return true
	case err == nil:
		return true
	case ctx.Err() != nil:
		return false // it is published again, by this relay or the next
	}
	var sent *brokers.SendError
	if !errors.As(err, &sent) || sent.Outcome != brokers.Refused {
		r.log.Warn("outbox message not published, for no fault of its own", zap.Error(err), zap.String("topic", c.rows[0].Message.Topic))
		c.dead, b.again = nil, true
		return false
	}
	return r.judge(c, err, b)
}

// failed counts an attempt.
func (r *Relay) failed(c *chain, err error) supervision.Failure {
	now, row := time.Now(), &c.rows[0]
	f := supervision.Failure{Err: err, Message: &row.Message, Attempt: row.Attempts + 1, FirstAt: now, At: now}
	if row.Attempts > 0 {
		f.FirstAt = row.FailedAt
	}
	return f
}

// judge asks the policy about a message that the broker refuses, or whose dead
// letter it refuses. It returns true if it is done with.
func (r *Relay) judge(c *chain, err error, b *batch) bool {
	if c.dead != nil {
		c.dead = nil
		r.hold(c, r.failed(c, fmt.Errorf("its dead letter is refused: %w", err)), supervision.Verdict{Kind: supervision.Park, After: time.Minute}, b)
		return false
	}
	row := c.rows[0]
	f := r.failed(c, err)
	v := r.cfg.Policy.Decide(f)
	log := r.logOf(&row, f)
	switch v.Kind {
	case supervision.DeadLetter:
		log.Warn("outbox message dead-lettered", zap.String("reason", v.Reason))
		letter := supervision.Encode(&row.Message, supervision.NewLetter(f, v), r.cfg.Policy.DeadLetter)
		c.dead, c.failure, c.verdict = &letter, f, v
	case supervision.Discard:
		log.Warn("outbox message discarded", zap.String("reason", v.Reason))
		r.observe(Discarded{row, f, v.Reason})
		return true
	case supervision.Stop:
		b.stop = &finalError{fmt.Errorf("%w: message %q to %q: %s: %w", ErrStopped, row.Message.ID, row.Message.Topic, v.Reason, err)}
	case supervision.Suspend, supervision.GiveBack:
		b.again = true
	default:
		r.hold(c, f, v, b)
	}
	return false
}

func (r *Relay) logOf(row *Row, f supervision.Failure) *zap.Logger {
	return r.log.With(
		zap.Error(f.Err), zap.Int64("row", row.Seq), zap.String("topic", row.Message.Topic), zap.String("id", row.Message.ID), zap.Int("attempt", f.Attempt))
}

// hold has the lane of a chain wait, and what is in the chain go aside. An attempt is
// kept with the row, for the relays to come; that a program cannot read it is none.
func (r *Relay) hold(c *chain, f supervision.Failure, v supervision.Verdict, b *batch) {
	row := &c.rows[0]
	if _, waits := r.held[c.lane]; !waits && len(r.held) >= r.cfg.MaxParked {
		r.logOf(row, f).Error("outbox at MaxParked: this message holds up all behind it")
		r.observe(Overflowed{*row})
		b.again = true
		return
	}
	after := max(v.After, time.Millisecond)
	until := f.At.Add(after)
	r.held[c.lane] = until
	if v.Kind == supervision.Park {
		r.logOf(row, f).Error("outbox key held: its message cannot be published", zap.Duration("retry_in", after))
	}
	r.observe(Parked{*row, f, after})
	r.due = earlier(r.due, until)
	if row.Fault == nil {
		row.Attempts, row.FailedAt = f.Attempt, f.FirstAt
	}
	switch {
	case !c.aside:
		b.park = append(b.park, c.rows...)
	case row.Fault == nil:
		b.park = append(b.park, *row)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
