package chaos

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The server is killed and started again with what it had stored.
func serverKilled(f *field) {
	f.two()
	f.hit(f.killing())
	f.finish()
}

// killing is a crash of the server.
func (f *field) killing() blow {
	return blow{name: "server killed", hold: f.long(5*time.Second, time.Minute), silent: true, strike: f.killServer}
}

func (f *field) killServer(ctx context.Context) (mend, error) {
	f.pass(time.Until(f.began.Add(f.target.Ripe)))
	return f.service.start, f.service.kill(ctx)
}

// The server stops answering for longer than leases last, and goes on.
func serverPaused(f *field) {
	f.two()
	f.hit(f.pausing())
	f.finish()
}

func (f *field) pausing() blow {
	return blow{
		name: "server paused", hold: f.long(f.target.Notice+2*f.target.Lease, 40*time.Second), silent: true,
		strike: f.service.pause,
	}
}

// The server takes no messages for a while, and then for another, in which a member
// comes.
func serverAlarmed(f *field) {
	f.two()
	f.hit(f.alarm())
	f.hit(blow{name: "alarm, and a member joins", hold: f.target.Hold, strike: func(ctx context.Context) (mend, error) {
		end, err := f.alarm().strike(ctx)
		f.join(nil)
		return end, err
	}})
	f.finish()
}

// alarm is one of the server's.
func (f *field) alarm() blow {
	return blow{name: "alarm", hold: f.long(f.target.Hold, 30*time.Second), strike: func(ctx context.Context) (mend, error) {
		end, err := f.target.Alarm(ctx)
		if err != nil {
			return nil, err
		}
		end = sync.OnceValue(end)
		f.Cleanup(func() { f.noErr(end()) }) // others need the server
		return func(context.Context) error { return end() }, nil
	}}
}

// The server comes back without its groups, as one does that kept them in
// memory, before its clients are back.
func serverForgot(f *field) {
	f.two()
	f.hit(blow{
		name: "server killed and forgot", hold: f.long(3*time.Second, 30*time.Second), silent: true,
		strike: func(ctx context.Context) (mend, error) {
			connect, err := cut(f.links()...)(ctx)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) error {
				return errors.Join(f.service.start(ctx), f.target.Forget(ctx, f.topic, f.group), connect(ctx))
			}, f.service.kill(ctx)
		},
	})
	f.finish()
}

// long is how long something lasts: by default, and if CHAOS_LONG is set.
func (f *field) long(short, long time.Duration) time.Duration {
	if f.longRun > 0 {
		return long
	}
	return short
}
