package sagas

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// Subscription reads the replies, for an actors.System, which handles those of
// different sagas at once and those of one in order. Set what else it needs: a
// Policy is not wanted, as no reply fails but for the store.
func (r *Runner[S]) Subscription(group string, broker brokers.Broker) actors.Subscription {
	return actors.Subscription{
		Group: group, Broker: broker, Topics: []string{r.cfg.Replies},
		Policy: supervision.Policy{DeadLetter: r.cfg.DeadLetters},
		Actor:  actors.Func(r.Reply),
	}
}

// Reply tells an instance of a participant's reply, made by [Answer]. It returns
// when that is stored, and then the message is to be acknowledged: the reply has
// had its effect, or is kept for an instance to come, or is in the outbox as a dead
// letter with its reason. An error is permanent ([supervision.Permanent]) if it is
// no reply, and one of the store otherwise.
func (r *Runner[S]) Reply(ctx context.Context, m brokers.Message) error {
	definition, id, reply, err := parseReply(&m)
	if err == nil && definition != r.name {
		err = errors.Join(ErrNoReply, errors.New("of saga "+definition))
	}
	if err != nil {
		return supervision.Permanent(err)
	}
	return r.reply(ctx, id, m, reply, time.Now())
}

func (r *Runner[S]) reply(ctx context.Context, id string, m brokers.Message, reply Reply, at time.Time) error {
	err := r.told(ctx, id, occasion{event: Replied[S]{Reply: reply}, handled: &m})
	early := Early{Definition: r.name, ID: id, Message: m, At: at}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrRepeat): // another copy of it may have been kept
		return infrastructure(ctx, r.cfg.Store.Discard(ctx, early))
	case errors.Is(err, ErrNotFound):
		err = r.cfg.Store.Keep(ctx, early, r.cfg.MaxEarly)
		if errors.Is(err, ErrFull) {
			err = r.discard(ctx, early, "orphaned: there is no such saga, and too many early replies are kept")
		}
		return infrastructure(ctx, err)
	case errors.Is(err, ErrMismatch), errors.As(err, new(*VersionError)):
		return err // this instance's alone
	case errors.Is(err, ErrEnded), errors.As(err, new(*replyError)):
		return infrastructure(ctx, r.discard(ctx, early, err.Error()))
	}
	return infrastructure(ctx, err)
}

func infrastructure(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return supervision.Infrastructure(err)
}

// discard makes a dead letter of a reply.
func (r *Runner[S]) discard(ctx context.Context, e Early, reason string) error {
	r.log.Warn("saga: reply dead-lettered", zap.String("key", e.Message.CorrelationID), zap.String("reason", reason))
	return r.cfg.Store.Discard(ctx, e, r.deadLetter(&e.Message, reason))
}

// keepHouse applies early replies whose instance is there, gives up those that are
// too old, and forgets old instances.
func (r *Runner[S]) keepHouse() {
	pruned := time.Now()
	for wait(r.ctx, r.cfg.Poll) {
		if err := r.settleEarly(); err != nil && r.ctx.Err() == nil {
			r.log.Warn("saga: early replies", zap.Error(err))
		}
		if now := time.Now(); now.Sub(pruned) > min(time.Hour, r.cfg.Retention) {
			pruned = now
			if _, err := r.cfg.Store.Prune(r.ctx, r.name, now.Add(-r.cfg.Retention)); err != nil && r.ctx.Err() == nil {
				r.log.Warn("saga: forget old ones", zap.Error(err))
			}
		}
	}
}

func (r *Runner[S]) settleEarly() error {
	if r.cfg.Replies == "" {
		return nil
	}
	kept, err := r.cfg.Store.Kept(r.ctx, r.name, time.Now().Add(-r.cfg.EarlyFor), maxGroup)
	if err != nil {
		return err
	}
	var errs []error // one that fails does not hold up the others
	for _, e := range kept {
		if !e.Found {
			errs = append(errs, r.discard(r.ctx, e, "orphaned: there is no such saga, and none was started in "+r.cfg.EarlyFor.String()))
			continue
		}
		_, id, reply, _ := parseReply(&e.Message) // it was kept because it is one
		errs = append(errs, r.reply(r.ctx, id, e.Message, reply, e.At))
	}
	return errors.Join(errs...)
}
