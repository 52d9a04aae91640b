package nats

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

const (
	// standbyExpiry is how long a standing-by member's request waits at the
	// server.
	standbyExpiry = 30 * time.Second
	// watchPinned and watchIdle are how often a member that stands by looks
	// whether the owner is gone.
	watchPinned = time.Second
	watchIdle   = 5 * time.Second
	// collectExpiry is how long messages that the server is to deliver again
	// are waited for.
	collectExpiry = 200 * time.Millisecond
)

var errNoProgress = errors.New("nats: the server does not deliver again what is unacknowledged")

// standBy waits until the server has pinned this member, which it does with a
// first delivery.
func (f *feed) standBy(ctx context.Context) error {
	watch := time.NewTimer(0)
	defer watch.Stop()
	for {
		f.ask()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.lane.recovered:
			f.askAnew()
		case <-f.progress:
		case <-watch.C:
			next, err := f.lookAfter(ctx)
			if err != nil {
				return err
			}
			watch.Reset(next)
		}
		if pin, err := f.state(); err != nil || pin != "" {
			return err
		}
	}
}

func (f *feed) state() (pin string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pin, f.err
}

// ask has one request at the server.
func (f *feed) ask() {
	f.mu.Lock()
	defer f.unlock()
	f.pulls.expire(time.Now())
	if len(f.pulls.open) == 0 && f.pin == "" && f.err == nil {
		f.pull(1, unbounded, standbyExpiry)
	}
}

// askAnew has one request at the server, whatever became of the last one. The
// server does not mind two.
func (f *feed) askAnew() {
	f.mu.Lock()
	f.pulls.forget()
	f.mu.Unlock()
	f.ask()
}

// lookAfter looks at the consumer of a member that stands by. If nobody owns the
// partition and something is unacknowledged, it has that delivered again: there
// may be no new message for ever.
func (f *feed) lookAfter(ctx context.Context) (next time.Duration, err error) {
	info, err := f.lane.info(ctx)
	switch {
	case err != nil:
		return 0, err
	case pinned(info) != "":
		return watchPinned, nil
	case info.NumAckPending == 0:
		if info.NumPending == 0 {
			f.wake()
		}
		return watchIdle, nil
	}
	if f.lane.prefix() {
		err = f.lane.rewind(ctx)
	} else {
		_, err = f.lane.set(ctx, info, f.lane.exposing())
	}
	if err != nil {
		return 0, err
	}
	f.askAnew()
	err = f.wait(ctx, 2*exposeAfter, func() bool { return f.pin != "" })
	if pin, over := f.state(); pin != "" || over != nil {
		return watchPinned, over // whoever collects sets the mode
	}
	if err != nil {
		return 0, err
	}
	// Another member is quicker, perhaps.
	info, err = f.lane.info(ctx)
	if err == nil {
		_, err = f.lane.set(ctx, info, f.lane.normal())
	}
	return watchPinned, err
}

// wait waits until is says true, which is asked under f.mu, the feed is over,
// or the time is.
func (f *feed) wait(ctx context.Context, most time.Duration, is func() bool) error {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	for {
		f.mu.Lock()
		done, over := is(), f.err
		f.mu.Unlock()
		if done || over != nil {
			return over
		}
		select {
		case <-f.progress:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// collect brings everything that is unacknowledged into the queue, in order,
// and lets the messages flow. The server's own order of what it delivers again
// is not to be relied upon, so nothing is given to anybody before it is
// complete.
func (f *feed) collect(ctx context.Context) error {
	info, err := f.own(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	known := f.counted == 1 // to nobody else
	f.acks.floor = info.AckFloor.Consumer
	f.mu.Unlock()
	switch {
	case info.NumAckPending <= 1 && known:
	case f.lane.prefix():
		if err := f.lane.rewind(ctx); err != nil {
			return err
		}
		f.startOver()
	default:
		if info, err = f.collectAll(ctx, info); err != nil {
			return err
		}
	}
	if _, err := f.lane.set(ctx, info, f.lane.normal()); err != nil {
		return err
	}
	f.flow()
	return f.over()
}

// startOver forgets what came before the consumer was rewound. Nothing has come
// since, as nothing was asked for.
func (f *feed) startOver() {
	f.mu.Lock()
	defer f.unlock()
	f.queue.drop()
	f.bytes = 0
	f.consumer, f.highest = 0, 0
	f.acks.floor = 0
}

// own asks for the consumer, and checks that it is still this feed's.
func (f *feed) own(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	info, err := f.lane.info(ctx)
	if err != nil {
		return nil, err
	}
	if pinned(info) != f.pin {
		return nil, errPinLost
	}
	return info, nil
}

// collectAll receives all that is unacknowledged: first what the server would
// deliver again by itself, as an owner that gave the partition back has seen to
// it; then, after a crash, what it has to be told.
func (f *feed) collectAll(ctx context.Context, info *jetstream.ConsumerInfo) (*jetstream.ConsumerInfo, error) {
	for range 20 {
		if _, err := f.lane.set(ctx, info, f.lane.shut()); err != nil {
			return nil, err
		}
		// Nothing is under way and nothing new will be, so the count is exact;
		// an earlier owner's late acknowledgement can only lessen it.
		counted, err := f.own(ctx)
		if err != nil {
			return nil, err
		}
		all, err := f.receiveAgain(ctx, counted.NumAckPending)
		if all || err != nil {
			return counted, err
		}
		if info, err = f.expose(ctx, counted); err != nil {
			return nil, err
		}
	}
	return nil, errNoProgress
}

// expose has the server deliver again all that is unacknowledged. It returns
// the consumer as it then is.
func (f *feed) expose(ctx context.Context, info *jetstream.ConsumerInfo) (*jetstream.ConsumerInfo, error) {
	info, err := f.lane.set(ctx, info, f.lane.exposing())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	clear(f.seen)
	f.mu.Unlock()
	return info, f.wait(ctx, exposeAfter, func() bool { return false })
}

// receiveAgain receives until as many different messages came as are
// unacknowledged; all is false if the server has no more.
func (f *feed) receiveAgain(ctx context.Context, unacknowledged int) (all bool, err error) {
	for {
		f.mu.Lock()
		before := len(f.seen)
		f.mu.Unlock()
		if before >= unacknowledged {
			return true, nil
		}
		f.pullOnly(unacknowledged-before, collectExpiry)
		if err := f.wait(ctx, f.lane.sub.b.cfg.RequestTimeout, func() bool { return len(f.pulls.open) == 0 }); err != nil {
			return false, err
		}
		f.mu.Lock()
		after := len(f.seen)
		f.mu.Unlock()
		if after == before {
			return false, nil
		}
	}
}

// flow orders the queue, which is complete, and lets new messages follow.
func (f *feed) flow() {
	f.mu.Lock()
	defer f.unlock()
	slices.SortFunc(f.queue.list(), func(a, b brokers.Message) int { return int(a.Offset - b.Offset) })
	f.flowing = true
	f.seen = nil
	if len(f.acks.due) > 0 {
		f.scheduleAcks()
	}
	f.refill()
	f.signal()
}
