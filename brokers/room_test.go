package brokers

import (
	"context"
	"testing"
	"testing/synctest"
)

// accepting starts a PublishAsync that may have to wait.
func accepting(ctx context.Context, p *Publisher, n *notes, m Message) <-chan error {
	c := make(chan error, 1)
	go func() { c <- p.PublishAsync(ctx, m, n.of(m.ID)) }()
	synctest.Wait()
	return c
}

func TestRoomIsGivenFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBufferedBytes: 100})
		size := func(id string, bytes int) Message {
			m := msg(id)
			m.Payload = make([]byte, bytes-len(m.ID)-len(m.Key))
			return m
		}
		for _, id := range []string{"a1", "b1"} {
			if err := <-accepting(t.Context(), p, n, size(id, 50)); err != nil {
				t.Fatal(err)
			}
		}
		large := accepting(t.Context(), p, n, size("c1", 100))
		small := accepting(t.Context(), p, n, size("d1", 10))
		d.confirm(t, "a1")
		smaller := accepting(t.Context(), p, n, size("e1", 5))
		want(t, d.sent(), "a1@1", "b1@1") // d1 and e1 would fit, and wait their turn
		d.confirm(t, "b1")
		want(t, d.sent(), "c1@1")
		d.confirm(t, "c1", "d1", "e1")
		for _, c := range []<-chan error{large, small, smaller} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWhoWaitsForRoomMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBuffered: 1})
		publish(t, p, n, "a1")
		ctx, cancel := context.WithCancel(t.Context())
		leaves := accepting(ctx, p, n, msg("b1"))
		stays := accepting(t.Context(), p, n, msg("c1"))
		cancel()
		wantError(t, <-leaves, NotSent, context.Canceled)
		d.confirm(t, "a1", "c1")
		if err := <-stays; err != nil {
			t.Error(err)
		}
		want(t, n.read(), "a1", "c1")
	})
}

// A caller whose context ends in the instant in which it gets room gives it back.
func TestRoomIsNotLostWithWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBuffered: 1})
		for range 200 {
			publish(t, p, n, "a1")
			ctx, cancel := context.WithCancel(t.Context())
			c := accepting(ctx, p, n, msg("b1"))
			o := d.take(t, "a1")
			p.mu.Lock()
			cancel() // the caller wakes, and finds mu locked until it has its room
			p.returned(o, Receipt{}, nil)
			p.unlock()
			if <-c == nil {
				d.confirm(t, "b1")
			}
			synctest.Wait()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.room.messages != 1 {
			t.Errorf("room for %d messages, want 1", p.room.messages)
		}
	})
}

func TestWhoWaitsForRoomLearnsThatThePublisherIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBuffered: 1})
		publish(t, p, n, "a1")
		waits := accepting(t.Context(), p, n, msg("b1"))
		calls := start(t.Context(), p, msg("c1"))
		closed := make(chan error, 1)
		go func() { closed <- p.Close(t.Context()) }()
		wantError(t, <-waits, NotSent, ErrClosed)
		wantError(t, (<-calls).err, NotSent, ErrClosed)
		d.confirm(t, "a1")
		if err := <-closed; err != nil {
			t.Error(err)
		}
		want(t, n.read(), "a1")
	})
}

// A caller that gets room in the instant in which the publisher closes is not let in.
func TestRoomIsOfNoUseOnceThePublisherIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			d, n := &desk{}, &notes{}
			p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBuffered: 1})
			publish(t, p, n, "a1")
			waits := accepting(t.Context(), p, n, msg("b1"))
			d.take(t, "a1").Done(Receipt{}, nil)
			err := closeNow(p)
			if <-waits != nil {
				want(t, d.sent(), "a1@1")
			} else if err == nil {
				t.Error("b1 was accepted and forgotten")
			}
		}
	})
}

// Callbacks that publish do so while the buffer is full and others wait for room.
func TestCallbacksPublishWhileTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxBuffered: 2})
		left, over := 300, make(chan struct{})
		var again func(Receipt, error)
		again = func(_ Receipt, err error) {
			if err != nil {
				t.Error(err)
			}
			if left--; left == 0 {
				close(over)
			}
			if left > 150 {
				if err := p.PublishAsync(t.Context(), msg("x"), again); err != nil {
					t.Error(err)
				}
			}
		}
		go func() {
			for range 151 {
				if err := p.PublishAsync(t.Context(), msg("x"), again); err != nil {
					t.Error(err)
				}
			}
		}()
		for open := true; open; {
			select {
			case <-over:
				open = false
			default:
				d.confirm(t, "x")
			}
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPublishOfMoreThanTheBufferHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPublisher(t, &desk{}, Features{}, PublisherConfig{MaxBuffered: 7})
		p.sender = newBatchSender()
		msgs := make([]Message, 1000)
		for i := range msgs {
			msgs[i] = msg("a")
		}
		receipts, err := p.Publish(t.Context(), msgs...)
		if err != nil || receipts[999].Topic != "t" {
			t.Errorf("%+v, %v", receipts[999], err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
