package nats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

// Short cuts of the connection, at any moment, lose nothing and reorder nothing,
// and none of them holds anything up for long.
func TestShortCuts(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			shortCuts(t, change)
		})
	}
}

func shortCuts(t *testing.T, change func(*nats.Config)) {
	ls := embeddedLines(startEmbedded(t))
	ls.change = change
	b, steady := open(t, ls), open(t, ls)
	topic := makeTopic(t, b, 3)
	r := read(t, subscribe(t, b, name("group"), topic))
	keys := []string{"key0", "key1", "key2"}
	for round := range 8 {
		for p, key := range keys {
			publish(t, steady, numbered(topic, int32(p), key, 20*round, 20*round+20)...)
		}
		<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
		ls.line(b).cut()
		ls.line(b).mend()
		began := time.Now()
		r.await(t, 20*round+19, keys...)
		if took := time.Since(began); took > 3*lease {
			t.Fatalf("round %d was handled %v after the cut", round, took)
		}
	}
}

// restarted is a server that can be shut down and started again on its store.
type restarted struct {
	tb  testing.TB
	dir string
	mu  sync.Mutex
	s   *embedded.Server
}

func (r *restarted) start() {
	r.tb.Helper()
	s, err := embedded.Start(embedded.Config{Dir: r.dir})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = s
}

func (r *restarted) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s != nil {
		r.s.Close()
	}
	r.s = nil
}

func (r *restarted) dial() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s == nil {
		return nil, errCut
	}
	return r.s.InProcessConn()
}

// logged are lines to a server that can be restarted, with what the driver logs.
func logged(t *testing.T, change func(*nats.Config)) (*restarted, *lines, *observer.ObservedLogs) {
	t.Helper()
	server := &restarted{tb: t, dir: t.TempDir()}
	server.start()
	t.Cleanup(server.stop)
	ls := embeddedLines(nil)
	ls.dial = server.dial
	core, logs := observer.New(zap.InfoLevel)
	ls.change = func(cfg *nats.Config) {
		cfg.Logger = zap.New(core)
		if change != nil {
			change(cfg)
		}
	}
	return server, ls, logs
}

// A server that is down for a while and comes back with its store: publishing
// and reading go on where they were, and say so once each.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			serverRestarts(t, change)
		})
	}
}

func serverRestarts(t *testing.T, change func(*nats.Config)) {
	server, ls, logs := logged(t, change)
	b := open(t, ls)
	topic := makeTopic(t, b, 3)
	r := read(t, subscribe(t, b, name("group"), topic))
	p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit(), RetryMax: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"key0", "key1", "key2"}
	var failed sync.Map
	send := func(from, to int) {
		for n := from; n < to; n++ {
			for i, key := range keys {
				err := p.PublishAsync(within(t), numbered(topic, int32(i), key, n, n+1)[0], func(_ brokers.Receipt, err error) {
					if err != nil {
						failed.Store(err.Error(), true)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send(0, 100)
	r.await(t, 20, keys...)
	send(100, 200)
	server.stop()
	send(200, 300)
	eventually(t, "Health says disconnected", func() bool { h := b.Health(t.Context()); return !h.Connected && h.Err != nil })
	<-time.After(lease + lease/2) // all epochs are over
	if h := b.Health(t.Context()).Subscriptions[0]; h.State != brokers.StateConnecting {
		t.Errorf("state while the server is down: %v; want connecting", h.State)
	}
	server.start()
	began := time.Now()
	r.await(t, 299, keys...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("reading went on %v after the server's return", took)
	}
	if err := p.Close(within(t)); err != nil {
		t.Error(err)
	}
	failed.Range(func(err, _ any) bool { t.Errorf("a message was not confirmed: %v", err); return true })
	eventually(t, "Health is good", func() bool {
		h := b.Health(t.Context())
		return h.Connected && h.Err == nil && len(h.Subscriptions[0].Partitions) == 3
	})
	for text, want := range map[string]int{"nats: connection lost": 1, "nats: connection restored": 1} {
		if got := logs.FilterMessage(text).Len(); got != want {
			t.Errorf("%q was logged %d times; want %d: %v", text, got, want, logs.All())
		}
	}
}

// gapped is an owner that has fetched 0 to 9 and acknowledged 0, 1, 2, 5 and 7.
func gapped(t *testing.T, b brokers.Broker, topic, group string) (brokers.Subscription, brokers.Partition) {
	t.Helper()
	publish(t, b, numbered(topic, 0, "k", 0, 10)...)
	s := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	got := fetch(t, p, 10)
	wantNumbers(t, got, 0, 10)
	if err := p.Ack(brokers.Ack{UpTo: got[2].Offset, Above: []int64{got[7].Offset, got[5].Offset}}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

var unacknowledged = []int{3, 4, 6, 8, 9}

func wantUnacknowledged(t *testing.T, got []brokers.Message) {
	t.Helper()
	var numbers []int
	for i := range got {
		numbers = append(numbers, number(&got[i]))
	}
	if !slices.Equal(numbers, unacknowledged) {
		t.Fatalf("got %v; want %v", numbers, unacknowledged)
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// wantRevoked waits for the end of an epoch, and closes it.
func wantRevoked(t *testing.T, p brokers.Partition) {
	t.Helper()
	select {
	case <-p.Context().Done():
	case <-within(t).Done():
		t.Fatal("the epoch did not end")
	}
	if cause := context.Cause(p.Context()); !errors.Is(cause, brokers.ErrRevoked) {
		t.Fatalf("the epoch ended with %v; want ErrRevoked", cause)
	}
	_ = p.Close(within(t)) // its acknowledgements may be void
}

// acked waits until the server has so many messages unacknowledged.
func acked(t *testing.T, ls *lines, topic, group string, left int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages are unacknowledged", left), func() bool {
		pending := -1
		err := ls.manage(func(ctx context.Context, s jetstream.Stream, consumer string) error {
			c, err := s.Consumer(ctx, consumer)
			if err == nil {
				pending = c.CachedInfo().NumAckPending
			}
			return err
		}, topic, group)
		return err == nil && pending == left
	})
}

// A consumer that is deleted is made again at the first message that is not
// acknowledged, and what was acknowledged above that does not come again.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	for title, whileCut := range map[string]bool{"Idle": false, "WhileCut": true} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ls := embeddedLines(startEmbedded(t))
			b := open(t, ls)
			topic, group := makeTopic(t, b, 1), name("group")
			s, p := gapped(t, b, topic, group)
			if whileCut {
				ls.line(b).cut()
			}
			if err := ls.manage(deleteConsumer, topic, group); err != nil {
				t.Fatal(err)
			}
			if whileCut {
				ls.line(b).mend()
			}
			began := time.Now()
			wantRevoked(t, p)
			p = accept(t, s)
			wantUnacknowledged(t, fetch(t, p, len(unacknowledged)))
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			publish(t, b, numbered(topic, 0, "k", 10, 12)...)
			wantNumbers(t, fetch(t, p, 2), 10, 12)
		})
	}
}

// The heir of a crashed owner gets just what that one had not acknowledged, in
// order, then what is new, and deliveries are counted.
func TestCrashAboveAGap(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b, doomed := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	_, p := gapped(t, doomed, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	ls.line(doomed).cut()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	next := accept(t, heir)
	if p.Context().Err() == nil {
		t.Error("the heir owns the partition while the epoch of the crashed owner goes on")
	}
	publish(t, b, numbered(topic, 0, "k", 10, 12)...)
	got := fetch(t, next, len(unacknowledged)+2)
	wantUnacknowledged(t, got[:len(unacknowledged)])
	wantNumbers(t, got[len(unacknowledged):], 10, 12)
	for i := range got {
		if want := 2; i < len(unacknowledged) && got[i].DeliveryCount < want {
			t.Errorf("message %s has DeliveryCount %d; want at least %d", got[i].Payload, got[i].DeliveryCount, want)
		}
	}
}

// Where only a prefix is acknowledged, all above a gap comes again, in order;
// what is settled there frees the window nevertheless.
func TestCrashAboveAGapOfAPrefix(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = modes["Prefix"]
	b, doomed := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	publish(t, b, numbered(topic, 0, "k", 0, 40)...)
	s := subscribeAs(t, doomed, brokers.SubscriptionConfig{Group: group, Topics: []string{topic}, MaxUnsettled: 10})
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	got := fetch(t, p, 10)
	if err := p.Ack(brokers.Ack{UpTo: got[2].Offset}); err != nil {
		t.Fatal(err)
	}
	for n := 10; n < 30; n++ {
		got = append(got, fetch(t, p, 1)...)
		if err := p.Ack(brokers.Ack{UpTo: got[2].Offset, Above: []int64{got[n].Offset}}); err != nil {
			t.Fatal(err)
		}
	}
	wantNumbers(t, got, 0, 30)
	acked(t, ls, topic, group, 30-3+3) // three more are at hand, as the three settled ones made room
	ls.line(doomed).cut()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	wantNumbers(t, fetch(t, accept(t, heir), 37), 3, 40)
}

// An owner that gives its partition back in the middle of a backlog leaves the
// next one nothing to wait for, and nothing twice but what it had not settled.
func TestHandOverUnderLoad(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	publish(t, b, numbered(topic, 0, "k", 0, 5000)...)
	s := subscribe(t, b, name("group"), topic)
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	settled := 0
	var took []time.Duration
	for range 5 {
		got := fetch(t, p, 300)
		wantNumbers(t, got, settled, settled+300)
		if err := p.Ack(brokers.Ack{UpTo: got[199].Offset}); err != nil {
			t.Fatal(err)
		}
		settled += 200
		began := time.Now()
		if err := p.Close(within(t)); err != nil {
			t.Fatal(err)
		}
		p = accept(t, s)
		took = append(took, time.Since(began))
	}
	wantNumbers(t, fetch(t, p, 100), settled, settled+100)
	if slices.Sort(took); took[2] > 300*time.Millisecond {
		t.Errorf("handing over took %v; want less than the time to have messages exposed", took)
	}
}

// An owner that is held up for longer than PinnedTTL is fenced before another
// member owns, and what it says later changes nothing.
func TestStalledOwnerIsFenced(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b, slow := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	_, p := gapped(t, slow, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	let := ls.line(slow).hold()
	heir := subscribe(t, b, group, topic)
	t.Cleanup(func() { _ = heir.Close(ended()) })
	next := accept(t, heir)
	if p.Context().Err() == nil {
		t.Error("the heir owns the partition while the epoch of the stalled owner goes on")
	}
	if err := p.Ack(brokers.Ack{UpTo: 1 << 40}); !errors.Is(err, brokers.ErrRevoked) {
		t.Errorf("Ack of a stalled owner: %v; want ErrRevoked", err)
	}
	let()
	wantUnacknowledged(t, fetch(t, next, len(unacknowledged)))
	if err := p.Ack(brokers.Ack{UpTo: 1 << 40}); !errors.Is(err, brokers.ErrRevoked) {
		t.Errorf("Ack of an epoch that is over: %v; want ErrRevoked", err)
	}
	acked(t, ls, topic, group, len(unacknowledged))
	_ = p.Close(within(t)) // acknowledgements of it are void
}

// Messages that wait for their retry use up no more of the window than they are,
// come once, though the server sends them again, and hold back nobody.
func TestParkedMessages(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = func(cfg *nats.Config) { cfg.AckWait = time.Second }
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	for n := range 8 {
		publish(t, b, numbered(topic, 0, fmt.Sprint("x", n), 0, 1)...)
	}
	s := subscribeAs(t, b, brokers.SubscriptionConfig{Group: name("group"), Topics: []string{topic}, MaxUnsettled: 16})
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	parked := fetch(t, p, 8)
	began := time.Now()
	for n := range 10 {
		for key := range 20 {
			publish(t, b, numbered(topic, 0, fmt.Sprint("y", key), n, n+1)...)
			got := fetch(t, p, 1)
			if string(got[0].Key) != fmt.Sprint("y", key) || number(&got[0]) != n {
				t.Fatalf("got %s; want y%d/%d", got[0].Payload, key, n)
			}
			if err := p.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{got[0].Offset}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("200 messages of other keys took %v", took)
	}
	// The server has sent the eight again by now; nobody sees that.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if again, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 10}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Fetch: %s, %v; want nothing", texts(again), err)
	}
	if err := p.Ack(brokers.Ack{UpTo: parked[7].Offset}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, numbered(topic, 0, "z", 0, 20)...)
	wantNumbers(t, fetch(t, p, 16), 0, 16)
}

// Whoever resets a consumer wants its messages again.
func TestOperatorResets(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	s, p := gapped(t, b, topic, group)
	acked(t, ls, topic, group, len(unacknowledged))
	err := ls.manage(func(ctx context.Context, s jetstream.Stream, consumer string) error {
		_, err := s.ResetConsumerToSequence(ctx, consumer, 1)
		return err
	}, topic, group)
	if err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, p)
	wantNumbers(t, fetch(t, accept(t, s), 10), 0, 10)
}

// A topic that is deleted and made again is read from its first message on.
func TestTopicMadeAgain(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b := open(t, ls)
	topic, group := makeTopic(t, b, 1), name("group")
	s, p := gapped(t, b, topic, group)
	if err := ls.deleteStream(topic); err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, p)
	eventually(t, "Health says that there is no topic", func() bool {
		return b.Health(t.Context()).Subscriptions[0].State == brokers.StateNoPartitions
	})
	if err := b.EnsureTopic(within(t), brokers.TopicConfig{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, numbered(topic, 0, "k", 0, 5)...)
	wantNumbers(t, fetch(t, accept(t, s), 5), 0, 5)
}

// A message whose confirmation does not come in time is sent again with its id,
// and stored once; its key stays in order.
func TestUnconfirmedIsStoredOnce(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = func(cfg *nats.Config) { cfg.PublishTimeout = 100 * time.Millisecond }
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	publish(t, b, append(numbered(topic, 0, "k", 0, 1), numbered(topic, 0, "l", 0, 1)...)...)
	p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	if err != nil {
		t.Fatal(err)
	}
	var duplicates, failures int
	var counting sync.Mutex
	let := ls.line(b).holdAnswers()
	for _, key := range []string{"k", "l"} {
		for n := 1; n < 5; n++ {
			err := p.PublishAsync(within(t), numbered(topic, 0, key, n, n+1)[0], func(r brokers.Receipt, err error) {
				counting.Lock()
				defer counting.Unlock()
				if r.Duplicate {
					duplicates++
				}
				if err != nil {
					failures++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	<-time.After(500 * time.Millisecond) // several attempts
	let()
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if duplicates == 0 || failures > 0 {
		t.Errorf("%d duplicates, %d failures; want some and none", duplicates, failures)
	}
	r := read(t, subscribe(t, b, name("group"), topic))
	r.await(t, 4, "k", "l")
	if n := r.repeats(); n > 0 {
		t.Errorf("%d messages were stored more than once", n)
	}
}
