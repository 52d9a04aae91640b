package brokers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlushWaitsForWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		if err := p.Flush(t.Context()); err != nil || d.flushes != 0 {
			t.Errorf("of nothing: %v, %d flushes", err, d.flushes)
		}
		publish(t, p, n, "a1", "a2")
		flushed := make(chan error, 1)
		go func() { flushed <- p.Flush(t.Context()) }()
		synctest.Wait()
		publish(t, p, n, "b1")
		d.confirm(t, "a1")
		if len(flushed) > 0 || d.flushes < 2 { // for a1, and again for a2
			t.Errorf("flushed %d, %d flushes of the sender", len(flushed), d.flushes)
		}
		d.answer(t, "a2", &SendError{Outcome: Refused, Err: errBroken})
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		want(t, n.read(), "a1", "a2")
		d.confirm(t, "b1")
	})
}

func TestFlushWaitsForCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		release, returned := make(chan struct{}), false
		if err := p.PublishAsync(t.Context(), msg("a1"), func(Receipt, error) { <-release; returned = true }); err != nil {
			t.Fatal(err)
		}
		d.confirm(t, "a1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "callbacks") {
			t.Errorf("%v", err)
		}
		time.AfterFunc(time.Second, func() { close(release) })
		if err := p.Flush(t.Context()); err != nil || !returned {
			t.Errorf("%v, returned %v", err, returned)
		}
	})
}

func TestFlushGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1", "a2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Flush(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 messages") {
			t.Errorf("%v", err)
		}
		if len(p.flushes) > 0 {
			t.Error("a Flush that gave up is kept")
		}
		d.confirm(t, "a1", "a2")
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{closeError: errBroken}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1", "a2")
		c := start(t.Context(), p, msg("b1"))
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- p.Close(t.Context()) }()
		}
		synctest.Wait()
		wantError(t, p.PublishAsync(t.Context(), msg("c1"), n.of("c1")), NotSent, ErrClosed)
		d.answer(t, "a1", notSent(errBroken))
		<-time.After(time.Second)
		d.confirm(t, "a1", "a2")
		if len(closed) > 0 {
			t.Error("Close did not wait")
		}
		d.confirm(t, "b1")
		if got := <-c; got.err != nil {
			t.Error(got.err)
		}
		for range 2 {
			if err := <-closed; !errors.Is(err, errBroken) {
				t.Errorf("Close: %v", err)
			}
		}
		if err := p.Close(t.Context()); !errors.Is(err, errBroken) || d.closes != 1 || d.flushes == 0 {
			t.Errorf("%v, %d closes and %d flushes of the sender", err, d.closes, d.flushes)
		}
		want(t, n.read(), "a1", "a2")
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{shut: make(chan struct{}), stalled: errors.New("blocked by the broker")}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1")
		want(t, d.sent(), "a1@1") // and Send blocks
		publish(t, p, n, "a2", "b1")
		c := start(t.Context(), p, msg("c1"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		err := p.Close(ctx)
		if time.Since(begun) != time.Second || !errors.Is(err, ErrClosed) || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "4 messages") || !strings.Contains(err.Error(), "blocked by the broker") {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if again := p.Close(t.Context()); again == nil || again.Error() != err.Error() {
			t.Errorf("again: %v", again)
		}
		want(t, n.read(), "a1", "a2", "b1")
		wantError(t, n.errs["a1"], Unknown, ErrClosed)
		wantError(t, n.errs["a2"], NotSent, ErrClosed)
		wantError(t, n.errs["b1"], NotSent, ErrClosed)
		wantError(t, (<-c).err, NotSent, ErrClosed)
		o := d.take(t, "a1")
		if o.Err() == nil || o.Context().Err() == nil {
			t.Error("the message is still wanted")
		}
		o.Done(Receipt{}, nil) // too late for anybody
		want(t, n.read())
	})
}

func TestASecondCloseMayHurryTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1")
		first := make(chan error, 1)
		go func() { first <- p.Close(t.Context()) }()
		synctest.Wait()
		err := closeNow(p)
		if got := <-first; got == nil || err == nil || got.Error() != err.Error() {
			t.Errorf("first %v, second %v", got, err)
		}
		want(t, n.read(), "a1")
	})
}

func TestCloseOfAnIdlePublisherNeedsNoTime(t *testing.T) {
	d := &desk{}
	p := newTestPublisher(t, d, Features{}, PublisherConfig{})
	if err := closeNow(p); err != nil || d.closes != 1 {
		t.Errorf("%v, %d closes", err, d.closes)
	}
}

// A callback that waits for Close waits for itself, until ctx ends.
func TestCloseInACallbackEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		closed := make(chan error, 1)
		if err := p.PublishAsync(t.Context(), msg("a1"), func(Receipt, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			closed <- p.Close(ctx)
		}); err != nil {
			t.Fatal(err)
		}
		d.confirm(t, "a1")
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// What was given up is the sender's still, so the sender is not closed yet.
func TestCloseWaitsForWhatTheSenderHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		c := start(ctx, p, msg("a1"))
		cancel()
		wantError(t, (<-c).err, Unknown, context.Canceled)
		closed := make(chan error, 1)
		go func() { closed <- p.Close(t.Context()) }()
		synctest.Wait()
		if d.closes > 0 {
			t.Error("the sender was closed while it had a message")
		}
		d.confirm(t, "a1")
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseWaitsForCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		returned := false
		if err := p.PublishAsync(t.Context(), msg("a1"), func(Receipt, error) {
			<-time.After(time.Second)
			returned = true
		}); err != nil {
			t.Fatal(err)
		}
		d.confirm(t, "a1")
		if err := p.Close(t.Context()); err != nil || !returned {
			t.Errorf("%v, returned %v", err, returned)
		}
	})
}
