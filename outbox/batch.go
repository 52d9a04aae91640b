package outbox

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// chain are the rows of one key in a batch. One is on its way at a time, so that
// none passes one that is refused.
type chain struct {
	key  string
	rows []Row
	dead *brokers.Message // the first row's dead letter, on its way instead of it
}

// reply is what became of the first row of a chain.
type reply struct {
	chain *chain
	err   error
}

// publish publishes what may be published of a batch, and returns what is done
// with: rows that were confirmed, dead-lettered or discarded.
func (r *Relay) publish(ctx context.Context, rows []Row) (done []int64) {
	chains := r.chains(rows)
	replies := make(chan reply, len(rows))
	flying := 0
	send := func(c *chain) {
		m := c.rows[0].Message
		if c.dead != nil {
			m = *c.dead
		}
		flying++
		err := r.publisher.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) { replies <- reply{c, err} })
		if err != nil {
			replies <- reply{c, err}
		}
	}
	for _, c := range chains {
		send(c)
	}
	for flying > 0 {
		got := <-replies
		flying--
		c := got.chain
		if got.err != nil && !r.refused(ctx, c, got.err) {
			if c.dead != nil {
				send(c)
			}
			continue
		}
		delete(r.held, c.key)
		done = append(done, c.rows[0].Seq)
		c.rows, c.dead = c.rows[1:], nil
		if len(c.rows) > 0 && ctx.Err() == nil {
			send(c)
		}
	}
	return done
}

// chains parts the rows by key, without those of held keys. A key that was held
// begins with the row that held it, which may be in a batch before or after this
// one. Rows without a key have no order among each other.
func (r *Relay) chains(rows []Row) (all []*chain) {
	byKey := make(map[string]*chain)
	now := time.Now()
	for _, row := range rows {
		key := keyOf(&row)
		c := byKey[key]
		if h := r.held[key]; h != nil && c == nil && (row.Seq != h.seq || now.Before(h.until)) {
			continue
		}
		if c == nil {
			c = &chain{key: key}
			byKey[key] = c
			all = append(all, c)
		}
		c.rows = append(c.rows, row)
	}
	return all
}

// keyOf is what is held together: a key of a topic, or a row that has none.
func keyOf(row *Row) string {
	if row.Message.Key == nil {
		return "row " + strconv.FormatInt(row.Seq, 10)
	}
	return "key " + row.Message.Topic + "\x00" + string(row.Message.Key)
}

// refused judges a failure. It returns true if the row is done with all the same.
func (r *Relay) refused(ctx context.Context, c *chain, err error) bool {
	if ctx.Err() != nil {
		return false // it is published again, by this relay or the next
	}
	row, now := &c.rows[0], time.Now()
	h := r.held[c.key]
	if h == nil || h.seq != row.Seq {
		h = &held{seq: row.Seq, first: now}
		r.held[c.key] = h
	}
	var sent *brokers.SendError
	if !errors.As(err, &sent) || sent.Outcome != brokers.Refused {
		h.until = now.Add(r.cfg.PollMax) // no fault of the message, but nothing of its key passes it
		return false
	}
	h.attempts++
	failure := supervision.Failure{Err: err, Message: &row.Message, Attempt: h.attempts, FirstAt: h.first, At: now}
	v := r.cfg.Policy.Decide(failure)
	log := r.log.With(zap.Error(err), zap.String("topic", row.Message.Topic), zap.String("id", row.Message.ID), zap.Int("attempt", h.attempts))
	if c.dead != nil { // not even its dead letter is taken
		c.dead = nil
		v = supervision.Verdict{Kind: supervision.Park, After: time.Minute}
	}
	switch v.Kind {
	case supervision.DeadLetter:
		log.Warn("outbox message dead-lettered", zap.String("reason", v.Reason))
		letter := supervision.Encode(&row.Message, supervision.NewLetter(failure, v), r.cfg.Policy.DeadLetter)
		c.dead = &letter
		return false
	case supervision.Discard:
		log.Warn("outbox message discarded", zap.String("reason", v.Reason))
		return true
	case supervision.Park:
		log.Error("outbox key held: the broker refuses its message", zap.Duration("retry_in", v.After))
	}
	h.until = now.Add(max(v.After, time.Millisecond))
	return false
}
