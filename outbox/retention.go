package outbox

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"
)

// Pruner is the store of an inbox.
type Pruner interface {
	// Prune forgets what was recorded before that time, and returns how much.
	Prune(ctx context.Context, before time.Time) (forgotten int64, err error)
}

// Retention forgets what an inbox has recorded long ago. A message that comes again
// after that is handled again, so keep it for longer than a broker may take to
// deliver one: as long as it stores messages, if they are ever read again from the
// start.
type Retention struct {
	// Inbox is the store. Required.
	Inbox Pruner
	// Keep is for how long. Defaults to 7 days.
	Keep time.Duration
	// Every is how often it looks. Defaults to a minute.
	Every time.Duration
	// Logger gets a line for each failure. Defaults to none.
	Logger *zap.Logger
}

// Run forgets until ctx ends, and then returns nil; a fault of the config is an
// error. A store that fails is asked again the next time. Several may run on one
// store.
func (r Retention) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	keep, every := cmp.Or(r.Keep, 7*24*time.Hour), cmp.Or(r.Every, time.Minute)
	for ctx.Err() == nil {
		if _, err := r.Inbox.Prune(ctx, time.Now().Add(-keep)); err != nil && ctx.Err() == nil && r.Logger != nil {
			r.Logger.Warn("inbox not pruned", zap.Error(err), zap.Duration("retry_in", every))
		}
		wait(ctx, every, nil)
	}
	return nil
}

func (r Retention) check() error {
	switch {
	case r.Inbox == nil:
		return configFault("Retention.Inbox is required")
	case r.Keep < 0:
		return configFault("Retention.Keep %v is negative", r.Keep)
	case r.Every < 0:
		return configFault("Retention.Every %v is negative", r.Every)
	}
	return nil
}
