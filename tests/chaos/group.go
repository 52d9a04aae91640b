package chaos

import "context"

// The server forgets the group while it is connected and at work.
func groupForgotten(f *field) {
	f.two()
	f.hit(blow{name: "group forgotten", strike: f.forget})
	f.finish()
}

func (f *field) forget(ctx context.Context) (mend, error) {
	return nil, f.target.Forget(ctx, f.topic, f.group)
}

// The server forgets the group while there is nothing to do.
func groupForgottenIdle(f *field) { f.idly("group forgotten", f.target.Forget) }

// What the server has of the group is deleted under its members, while there is
// nothing to do: with messages in it they would be lost.
func groupDeletedIdle(f *field) { f.idly("group deleted", f.target.Delete) }

// idly strikes while all is handled.
func (f *field) idly(name string, strike func(ctx context.Context, topic, group string) error) {
	f.two()
	f.confirmed()
	f.await("all that was confirmed handled", patience, f.allHandled)
	f.note(Struck, name)
	f.ok(strike(f.Context(), f.topic, f.group))
	f.note(Mended, name)
	f.stream()
	f.resumes()
	f.finish()
}

// ownBlow is one of the target's own.
func ownBlow(f *field, name string) {
	f.two()
	for range 3 {
		f.hit(blow{name: name, hold: f.target.Hold, strike: f.own(name)})
	}
	f.finish()
}

func (f *field) own(name string) strike {
	return func(ctx context.Context) (mend, error) {
		end, err := f.target.Blows[name](ctx, f.topic, f.group)
		if err != nil || end == nil {
			return nil, err
		}
		return func(context.Context) error { end(); return nil }, nil
	}
}
