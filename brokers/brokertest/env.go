package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// env is what one test works with: its own connection, and calls that fail the
// test when the driver takes longer than it may.
type env struct {
	*testing.T
	h        Harness
	broker   brokers.Broker
	features brokers.Features
}

func newEnv(t *testing.T, h Harness) *env {
	t.Helper()
	e := &env{T: t, h: h}
	e.broker = e.open()
	e.features = e.broker.Features()
	return e
}

// needs skips the test if the broker, or the harness, lacks something.
func (e *env) needs(has bool, what string) {
	e.Helper()
	if !has {
		e.Skipf("skipped: %s", what)
	}
}

// within returns a context that ends when the driver has had time enough.
func (e *env) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), e.h.Wait)
	e.Cleanup(cancel)
	return ctx
}

// quietly returns a context that ends after the harness's Quiet.
func (e *env) quietly() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), e.h.Quiet)
	e.Cleanup(cancel)
	return ctx
}

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// open opens a connection and closes it at the end of the test.
func (e *env) open() brokers.Broker {
	e.Helper()
	b, err := e.h.Open(e.within())
	e.ok(err, "Harness.Open")
	e.Cleanup(func() {
		e.noErr(e.returns("Broker.Close", b.Close), "Broker.Close")
	})
	return b
}

// topic makes a topic that keeps its messages for the groups.
func (e *env) topic(partitions int, groups ...string) string {
	e.Helper()
	name := e.h.Name("topic")
	e.ensure(name, partitions, groups...)
	return name
}

func (e *env) ensure(name string, partitions int, groups ...string) {
	e.Helper()
	cfg := brokers.TopicConfig{Name: name, Partitions: partitions, Groups: groups}
	ctx := e.within()
	e.ok(e.returns("EnsureTopic", func() error { return e.broker.EnsureTopic(ctx, cfg) }), "EnsureTopic")
}

func (e *env) group() string { return e.h.Name("group") }

// subscribe joins a group. At the end of the test the membership is closed
// without a drain.
func (e *env) subscribe(b brokers.Broker, group string, topics ...string) brokers.Subscription {
	e.Helper()
	return e.subscribeAs(b, brokers.SubscriptionConfig{Group: group, Topics: topics})
}

func (e *env) subscribeAs(b brokers.Broker, cfg brokers.SubscriptionConfig) brokers.Subscription {
	e.Helper()
	ctx := e.within()
	sub, err := start("Subscribe", func() (brokers.Subscription, error) { return b.Subscribe(ctx, cfg) }).wait(e)
	e.ok(err, "Subscribe")
	e.Cleanup(func() {
		// Its result depends on what the test left open.
		_ = e.returns("Subscription.Close", func() error { return sub.Close(ended()) })
	})
	return sub
}

// accept waits for one partition.
func (e *env) accept(sub brokers.Subscription) brokers.Partition {
	e.Helper()
	p, err := e.tryAccept(e.within(), sub)
	e.ok(err, "Accept")
	return p
}

// tryAccept is Accept, but ends the test if it does not return.
func (e *env) tryAccept(ctx context.Context, sub brokers.Subscription) (brokers.Partition, error) {
	e.Helper()
	return startAccept(ctx, sub).wait(e)
}

func startAccept(ctx context.Context, sub brokers.Subscription) *call[brokers.Partition] {
	return start("Accept", func() (brokers.Partition, error) { return sub.Accept(ctx) })
}

// tryFetch is Fetch, but ends the test if it does not return.
func (e *env) tryFetch(ctx context.Context, p brokers.Partition, limit brokers.FetchLimit) ([]brokers.Message, error) {
	e.Helper()
	return startFetch(ctx, p, limit).wait(e)
}

func startFetch(ctx context.Context, p brokers.Partition, limit brokers.FetchLimit) *call[[]brokers.Message] {
	return start("Fetch", func() ([]brokers.Message, error) { return p.Fetch(ctx, limit) })
}

// acceptAll waits for n partitions, by number.
func (e *env) acceptAll(sub brokers.Subscription, n int) map[int32]brokers.Partition {
	e.Helper()
	owned := map[int32]brokers.Partition{}
	for range n {
		p := e.accept(sub)
		if old := owned[p.ID()]; old != nil {
			e.Fatalf("Accept: partition %d was accepted again (epochs %d, %d) while the first was open", p.ID(), old.Epoch(), p.Epoch())
		}
		owned[p.ID()] = p
	}
	return owned
}

// fetch waits for exactly n messages.
func (e *env) fetch(p brokers.Partition, n int) []brokers.Message {
	e.Helper()
	var got []brokers.Message
	for ctx := e.within(); len(got) < n; {
		batch, err := e.tryFetch(ctx, p, brokers.FetchLimit{Messages: n - len(got)})
		if err != nil {
			e.Fatalf("Fetch: %v, after %d of %d messages: %s", err, len(got), n, texts(got))
		}
		got = append(got, batch...)
	}
	if len(got) > n {
		e.Fatalf("Fetch: returned more than the limit: %d messages rather than %d", len(got), n)
	}
	return got
}

// fetchNothing watches that there is nothing to fetch for a while.
func (e *env) fetchNothing(p brokers.Partition) {
	e.Helper()
	got, err := e.tryFetch(e.quietly(), p, brokers.FetchLimit{Messages: 100})
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Fatalf("Fetch: %s, %v; want nothing until the deadline", texts(got), err)
	}
}

// acceptNothing watches that no partition is offered for a while.
func (e *env) acceptNothing(sub brokers.Subscription) {
	e.Helper()
	p, err := e.tryAccept(e.quietly(), sub)
	if err == nil {
		e.Fatalf("Accept: got partition %d, epoch %d; want none until the deadline", p.ID(), p.Epoch())
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Fatalf("Accept: %v; want the context's error", err)
	}
}

func (e *env) ack(p brokers.Partition, upTo int64, above ...int64) {
	e.Helper()
	e.ok(p.Ack(brokers.Ack{UpTo: upTo, Above: above}), "Ack")
}

func (e *env) close(p brokers.Partition) {
	e.Helper()
	ctx := e.within()
	e.ok(e.returns("Partition.Close", func() error { return p.Close(ctx) }), "Partition.Close")
}

// leave closes a membership whose partitions are closed, or will be.
func (e *env) leave(sub brokers.Subscription) {
	e.Helper()
	ctx := e.within()
	e.ok(e.returns("Subscription.Close", func() error { return sub.Close(ctx) }), "Subscription.Close")
}

// ok ends the test on an error.
func (e *env) ok(err error, call string) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", call, err)
	}
}

// noErr fails the test on an error, and goes on.
func (e *env) noErr(err error, call string) {
	e.Helper()
	if err != nil {
		e.Errorf("%s: %v", call, err)
	}
}

// is ends the test unless err is, or wraps, target.
func (e *env) is(err, target error, call string) {
	e.Helper()
	if !errors.Is(err, target) {
		e.Fatalf("%s: got error %v; want %v", call, err, target)
	}
}

// happens waits for a channel to be closed.
func (e *env) happens(c <-chan struct{}, what string) {
	e.Helper()
	select {
	case <-c:
	case <-e.within().Done():
		e.Fatalf("%s: not within %v", what, e.h.Wait)
	}
}

// happened says whether a channel is closed.
func happened(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// eventually polls the broker's state.
func (e *env) eventually(what string, is func() bool) {
	e.Helper()
	ctx := e.within()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !is() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			e.Fatalf("%s: not within %v", what, e.h.Wait)
		}
	}
}

// revoked ends the test unless the epoch has ended with ErrRevoked, or does.
func (e *env) revoked(p brokers.Partition) {
	e.Helper()
	e.happens(p.Context().Done(), fmt.Sprintf("end of epoch %d of partition %d", p.Epoch(), p.ID()))
	e.is(context.Cause(p.Context()), brokers.ErrRevoked, "cause of Partition.Context")
}
