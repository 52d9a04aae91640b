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
func groupForgottenIdle(f *field) {
	f.two()
	f.confirmed()
	f.await("all that was confirmed handled", patience, f.allHandled)
	f.note(Struck, "group forgotten")
	f.ok(f.target.Forget(f.Context(), f.topic, f.group))
	f.note(Mended, "group forgotten")
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
