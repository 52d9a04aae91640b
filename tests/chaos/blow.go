package chaos

import (
	"context"
	"errors"
	"time"
)

// A strike breaks something. It returns how to mend that; nil if there is
// nothing to be mended.
type strike func(ctx context.Context) (mend, error)

// A mend ends what a strike began.
type mend func(ctx context.Context) error

// blow is something that is broken for a while.
type blow struct {
	name string
	// hold is how long it lasts.
	hold time.Duration
	// silent: no member can read anything meanwhile.
	silent bool
	// survived: every partition makes progress meanwhile.
	survived bool
	strike   strike
}

// hit strikes, holds, mends, and waits until all goes on: every partition with
// messages that nobody had handled before, every member in good health.
func (f *field) hit(b blow) {
	f.Helper()
	f.Logf("%s for %v", b.name, b.hold)
	f.pile(f.target.hands())
	f.note(Struck, b.name)
	began := time.Now()
	mend, err := b.strike(f.Context())
	f.ok(err)
	mend = mend.once()
	defer func() { f.ok(mend(context.Background())) }() // also if what follows fails
	if b.silent {
		f.await("Health not ready while nothing can be read", f.target.Notice, f.noneReady)
	}
	if b.survived {
		f.survives()
	}
	f.pass(b.hold - time.Since(began))
	f.ok(mend(context.Background()))
	f.note(Mended, b.name)
	f.resumes()
}

// once is a mend that may be called again, in vain.
func (m mend) once() mend {
	return func(ctx context.Context) error {
		if m == nil {
			return nil
		}
		do := m
		m = nil
		return do(ctx)
	}
}

// resumes waits until every partition makes progress, from now on.
func (f *field) resumes() {
	f.Helper()
	began := time.Now()
	f.await("progress on every partition", f.target.Resume, func() bool { return f.progressSince(began) })
	f.await("Health ready", f.target.Resume, f.allReady)
	f.Logf("all goes on after %v", time.Since(began).Round(time.Millisecond))
}

// survives waits until members have done what they had in their hands, and then
// for progress on every partition with messages that are published now.
func (f *field) survives() {
	f.Helper()
	began := time.Now()
	f.pass(2 * f.target.hands())
	f.pile(0)
	published := time.Now()
	f.await("progress on every partition meanwhile", f.target.Lease+f.target.Resume, func() bool { return f.progressSince(published) })
	f.Logf("all goes on meanwhile after %v", time.Since(began).Round(time.Millisecond))
}

// each strikes all links, and mends all.
func each(links []*link, strike func(context.Context, *link) (mend, error)) strike {
	return func(ctx context.Context) (mend, error) {
		var mends []mend
		all := func(ctx context.Context) error {
			var errs []error
			for _, m := range mends {
				errs = append(errs, m(ctx))
			}
			return errors.Join(errs...)
		}
		for _, l := range links {
			m, err := strike(ctx, l)
			if err != nil {
				return nil, errors.Join(err, all(ctx))
			}
			mends = append(mends, m)
		}
		return all, nil
	}
}

// cut cuts links, and refuses new connections.
func cut(links ...*link) strike {
	return each(links, func(ctx context.Context, l *link) (mend, error) { return l.cut(ctx) })
}

// poison adds toxics to links.
func poison(toxics []toxic, links ...*link) strike {
	return each(links, func(ctx context.Context, l *link) (mend, error) { return l.poison(ctx, toxics) })
}
