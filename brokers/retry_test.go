package brokers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryGoesBeforeLaterOnesOfItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1", "a2", "b1", "b2")
		d.answer(t, "a1", notSent(errBroken))
		d.confirm(t, "b1")
		want(t, d.sent(), "a1@1", "b1@1", "b2@1")
		<-time.After(50 * time.Millisecond)
		want(t, d.sent(), "a1@2")
		d.answer(t, "a1", errBroken)
		<-time.After(100 * time.Millisecond)
		want(t, d.sent(), "a1@3")
		d.confirm(t, "a1", "a2", "b2")
		want(t, n.read(), "b1", "a1", "a2", "b2")
	})
}

func TestRetryOfUnorderedLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{Order: OrderNone, MaxInFlight: 1})
		publish(t, p, n, "a1", "a2")
		d.answer(t, "a1", notSent(errBroken))
		want(t, d.sent(), "a1@1", "a2@1")
		<-time.After(50 * time.Millisecond)
		want(t, d.sent()) // the window is full
		d.confirm(t, "a2", "a1")
		want(t, n.read(), "a2", "a1")
	})
}

func TestBackoffDoublesUpToItsLimitAndIsJittered(t *testing.T) {
	p := newTestPublisher(t, &desk{}, Features{}, PublisherConfig{RetryMin: 10, RetryMax: 75})
	seen := map[time.Duration]bool{}
	for range 1000 {
		for attempts, most := range map[int]time.Duration{1: 10, 2: 20, 3: 40, 4: 75, 5: 75, 64: 75, 1 << 40: 75} {
			d := p.backoff(attempts)
			if d < most/2 || d > most {
				t.Fatalf("after %d attempts: %d, want %d to %d", attempts, d, most/2, most)
			}
			if attempts == 1 {
				seen[d] = true
			}
		}
	}
	if len(seen) != 6 {
		t.Errorf("10 became %d different times, want 6", len(seen))
	}
}

func TestEndedContextWithdrawsWhatIsNotInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{stalled: errors.New("blocked by the broker")}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := start(ctx, p, msg("a1"), msg("a2"), msg("b1"), msg("c1"), msg("d1"))
		d.confirm(t, "d1")
		d.answer(t, "b1", notSent(errBroken))
		d.answer(t, "c1", errBroken)
		<-time.After(time.Second)
		var e *PublishError
		if got := <-c; !errors.As(got.err, &e) || len(e.Failures) != 4 || got.receipts[4].Topic == "" {
			t.Fatalf("%+v", got)
		}
		for i, f := range []struct {
			outcome Outcome
			cause   error
		}{{Unknown, d.stalled}, {NotSent, d.stalled}, {Unknown, d.stalled}, {Unknown, errBroken}} {
			failure := &e.Failures[i].SendError
			wantError(t, failure, f.outcome, context.DeadlineExceeded)
			wantError(t, failure, f.outcome, f.cause)
			if !strings.Contains(failure.Error(), "blocked by the broker") {
				t.Errorf("%v", failure)
			}
		}
		d.sent()
		d.confirm(t, "a1", "b1", "c1")
		<-time.After(time.Hour)
		want(t, d.sent())
	})
}

func TestAnotherCallTakesTheKeyOnceTheFirstHasAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		first, cancel := context.WithCancel(t.Context())
		c1 := start(first, p, msg("a1"))
		c2 := start(t.Context(), p, msg("a2"))
		cancel()
		wantError(t, (<-c1).err, Unknown, context.Canceled)
		want(t, d.sent(), "a1@1") // a1 may be stored yet: a2 must not pass it
		d.answer(t, "a1", notSent(errBroken))
		want(t, d.sent(), "a2@1")
		d.confirm(t, "a2")
		if got := <-c2; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestFailureAfterTheContextEndedIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{DeliveryTimeout: time.Second})
		publish(t, p, n, "a1")
		synctest.Wait()
		o := d.take(t, "a1")
		<-o.Context().Done()
		if o.Err() == nil || !errors.Is(context.Cause(o.Context()), errDeliveryTimeout) {
			t.Errorf("Err %v, cause %v", o.Err(), context.Cause(o.Context()))
		}
		o.Done(Receipt{}, notSent(errBroken))
		want(t, n.read(), "a1")
		<-time.After(time.Hour)
		want(t, d.sent(), "a1@1")
	})
}

func TestDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxInFlight: 3, RetryMin: time.Hour, RetryMax: time.Hour})
		publish(t, p, n, "a1", "a2", "b1", "c1", "d1")
		d.answer(t, "b1", errBroken)
		d.answer(t, "c1", notSent(errBroken))
		<-time.After(time.Second)
		publish(t, p, n, "e1")
		<-time.After(2*time.Minute - time.Second - 1)
		want(t, n.read())
		<-time.After(1)
		want(t, n.read(), "a1", "a2", "b1", "c1", "d1")
		for id, outcome := range map[string]Outcome{"a1": Unknown, "a2": NotSent, "b1": Unknown, "c1": NotSent, "d1": Unknown} {
			wantError(t, n.errs[id], outcome, context.DeadlineExceeded)
		}
		d.confirm(t, "e1")
		want(t, n.read(), "e1")
		if n.errs["e1"] != nil {
			t.Error(n.errs["e1"])
		}
		d.confirm(t, "a1", "d1")
	})
}

func TestNoDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{DeliveryTimeout: -1, RetryMax: time.Minute})
		publish(t, p, n, "a1")
		end := time.Now().Add(1000 * time.Hour)
		for time.Now().Before(end) {
			d.answer(t, "a1", notSent(errBroken))
			<-time.After(time.Minute)
		}
		want(t, n.read())
		o := d.take(t, "a1")
		if o.Err() != nil || o.Context().Err() != nil {
			t.Errorf("%v, %v", o.Err(), o.Context().Err())
		}
		o.Done(Receipt{}, nil)
		want(t, n.read(), "a1")
	})
}

func TestNotSentAfterAnAttemptThatMayBeStoredIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{DeliveryTimeout: time.Second})
		publish(t, p, n, "a1")
		d.answer(t, "a1", errBroken)
		<-time.After(50 * time.Millisecond)
		d.answer(t, "a1", notSent(errBroken))
		<-time.After(time.Second)
		want(t, n.read(), "a1")
		wantError(t, n.errs["a1"], Unknown, errBroken)
	})
}

func TestDoneTwicePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		c := start(t.Context(), p, msg("a1"))
		o := d.take(t, "a1")
		o.Done(Receipt{}, nil)
		<-c
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		o.Done(Receipt{}, nil)
	})
}

func TestDriversErrorsAreKept(t *testing.T) {
	inner := &SendError{Outcome: Refused, Err: errBroken}
	wrapped := errors.Join(errors.New("context"), inner)
	wantError(t, asSendError(wrapped), Refused, errBroken)
	if got := asSendError(inner); got != inner {
		t.Errorf("%v", got)
	}
	wantError(t, asSendError(errBroken), Unknown, errBroken)
}

// The caller's goroutine may be late to withdraw: nothing is sent for it all the
// same.
func TestWhatNobodyWaitsForIsNotHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{shut: make(chan struct{})}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		first := start(t.Context(), p, msg("a1")) // and Send blocks
		ctx, cancel := context.WithCancel(t.Context())
		second := start(ctx, p, msg("b1"))
		p.mu.Lock()
		cancel()
		if batch := p.takeReady(); len(batch) > 0 {
			t.Errorf("%d messages were handed over", len(batch))
		}
		p.unlock()
		wantError(t, (<-second).err, NotSent, context.Canceled)
		close(d.shut)
		d.confirm(t, "a1")
		<-first
	})
}
