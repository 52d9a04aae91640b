package brokers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The publisher against a model of a broker that fails, delays and blocks at
// random, under callers that publish, flush, give up and close at random. Each
// run is a bubble of virtual time, so a goroutine that stays behind or waits for
// nothing fails it too.

// world is one run. All of it is guarded by mu, but for what is set at first.
type world struct {
	plan plan
	p    *Publisher

	mu      sync.Mutex
	rng     *rand.Rand
	sending bool
	closed  bool
	out     int
	outKeys map[string]int
	stored  map[string][]id // by key
	times   map[id]int      // how often it was stored
	tales   map[id]*tale
	faults  []string
	running int // callbacks
}

// id tells messages apart: the n-th of a producer for a key.
type id struct {
	key string
	n   int
}

// tale is what the callers know of a message.
type tale struct {
	accepted bool
	told     int
	err      error
}

// plan is what rapid draws.
type plan struct {
	Seed      uint64
	Sequenced bool
	Order     Order
	InFlight  int
	Buffered  int
	Producers int
	Messages  int // of each
	Keys      int // of each
	Failures  int // in a hundred attempts
	Blocks    int // in a hundred calls of Send
	Timeout   time.Duration
	Close     time.Duration // when; 0 is after all
	Grace     time.Duration
}

func drawPlan(t *rapid.T) plan {
	return plan{
		Seed:      rapid.Uint64().Draw(t, "seed"),
		Sequenced: rapid.Bool().Draw(t, "sequenced"),
		Order:     rapid.SampledFrom([]Order{OrderPerKey, OrderPerKey, OrderNone}).Draw(t, "order"),
		InFlight:  rapid.SampledFrom([]int{1, 2, 7, 100}).Draw(t, "in flight"),
		Buffered:  rapid.SampledFrom([]int{100, 101, 1000}).Draw(t, "buffered") * rapid.IntRange(1, 2).Draw(t, "times") / 2,
		Producers: rapid.IntRange(1, 6).Draw(t, "producers"),
		Messages:  rapid.IntRange(1, 60).Draw(t, "messages"),
		Keys:      rapid.IntRange(1, 5).Draw(t, "keys"),
		Failures:  rapid.SampledFrom([]int{0, 5, 50, 95}).Draw(t, "failures"),
		Blocks:    rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "blocks"),
		Timeout:   rapid.SampledFrom([]time.Duration{-1, time.Second, time.Minute}).Draw(t, "timeout"),
		Close:     rapid.SampledFrom([]time.Duration{0, time.Millisecond, 300 * time.Millisecond, 5 * time.Second}).Draw(t, "close"),
		Grace:     rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, time.Hour}).Draw(t, "grace"),
	}
}

func TestPublisherModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := drawPlan(rt)
		var faults []string
		synctest.Test(t, func(*testing.T) { faults = run(plan) })
		if len(faults) > 0 {
			rt.Fatalf("%d faults, the first: %s", len(faults), faults[0])
		}
	})
}

// run returns what was wrong.
func run(plan plan) []string {
	w := &world{
		plan: plan, rng: rand.New(rand.NewPCG(plan.Seed, 1)),
		outKeys: map[string]int{}, stored: map[string][]id{}, times: map[id]int{}, tales: map[id]*tale{},
	}
	p, err := NewPublisher(w, Features{SequencedPublish: plan.Sequenced}, PublisherConfig{
		Order: plan.Order, MaxInFlight: min(plan.InFlight, plan.Buffered), MaxBuffered: plan.Buffered,
		MaxBufferedBytes: 4000, DeliveryTimeout: plan.Timeout,
	})
	if err != nil {
		return []string{err.Error()}
	}
	w.p = p
	var callers, closers sync.WaitGroup
	for i := range plan.Producers {
		if i%2 == 0 {
			callers.Go(func() { w.produceAsync(i) })
		} else {
			callers.Go(func() { w.produceSync(i) })
		}
	}
	callers.Go(w.flushNowAndThen)
	if plan.Close > 0 {
		for i := range 2 {
			closers.Go(func() {
				<-time.After(plan.Close + time.Duration(i)*plan.Grace/2)
				w.close()
			})
		}
	}
	callers.Wait()
	closers.Wait()
	w.close()
	<-time.After(time.Minute) // what the sender has, and callbacks, after a Close that gave up
	synctest.Wait()
	w.check()
	return w.faults
}

func (w *world) chance(percent int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(100) < percent
}

func (w *world) duration(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rng.Int64N(int64(most) + 1))
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultLocked(format, args...)
}

func (w *world) faultLocked(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func message(i id) Message {
	return Message{ID: fmt.Sprint(i.n), Topic: "t", Key: []byte(i.key), Payload: make([]byte, i.n%100)}
}

func idOf(m *Message) id {
	var n int
	if _, err := fmt.Sscan(m.ID, &n); err != nil {
		panic(err)
	}
	return id{string(m.Key), n}
}

// refused says which messages the broker never takes.
func (i id) refused() bool { return i.n%13 == 5 }

// context is one that may end before long.
func (w *world) context() (context.Context, context.CancelFunc) {
	if w.chance(70) {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), w.duration(2*time.Second))
}

func (w *world) produceAsync(producer int) {
	for n := range w.plan.Messages {
		key := fmt.Sprintf("%d/%d", producer, n%w.plan.Keys)
		w.publishAsync(id{key, n})
		if w.chance(10) {
			<-time.After(w.duration(time.Second))
		}
	}
}

func (w *world) publishAsync(i id) {
	ctx, cancel := w.context()
	defer cancel()
	w.mu.Lock()
	t := &tale{}
	w.tales[i] = t
	w.mu.Unlock()
	err := w.p.PublishAsync(ctx, message(i), func(r Receipt, err error) { w.told(i, err) })
	w.mu.Lock()
	defer w.mu.Unlock()
	t.accepted = err == nil
	if err != nil {
		var e *SendError
		if !errors.As(err, &e) || e.Outcome != NotSent {
			w.faultLocked("PublishAsync of %v: %v", i, err)
		}
		if t.told++; t.told > 1 {
			w.faultLocked("%v was not accepted and told", i)
		}
		t.err = err
	}
}

// told is a callback. Some publish again, to a key of their own.
func (w *world) told(i id, err error) {
	w.mu.Lock()
	if w.running++; w.running > 1 {
		w.faultLocked("callbacks overlap")
	}
	t := w.tales[i]
	t.told++
	t.err = err
	if w.plan.Order == OrderPerKey {
		for j, other := range w.tales {
			if j.key == i.key && j.n < i.n && other.told == 0 {
				w.faultLocked("%v was told before %v", i, j)
			}
		}
	}
	w.mu.Unlock()
	if i.n < 1000 && i.n%7 == 0 {
		for k := range 2 {
			w.publishAsync(id{fmt.Sprintf("%s>%d", i.key, k), 1000 + i.n})
		}
	}
	if w.chance(5) {
		<-time.After(w.duration(100 * time.Millisecond))
	}
	w.mu.Lock()
	w.running--
	w.mu.Unlock()
}

func (w *world) produceSync(producer int) {
	for n := 0; n < w.plan.Messages; {
		ctx, cancel := w.context()
		var ids []id
		var msgs []Message
		for range 1 + w.duration(20) {
			i := id{fmt.Sprintf("%d/%d", producer, n%w.plan.Keys), n}
			ids, msgs = append(ids, i), append(msgs, message(i))
			n++
		}
		if w.plan.Failures > 90 || w.plan.Sequenced {
			cancel() // what lasts for ever is left to the asynchronous
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		}
		receipts, err := w.p.Publish(ctx, msgs...)
		w.toldAll(ids, receipts, err)
		cancel()
	}
}

func (w *world) toldAll(ids []id, receipts []Receipt, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	failures := map[int]error{}
	var pe *PublishError
	if errors.As(err, &pe) {
		for i := range pe.Failures {
			failures[pe.Failures[i].Index] = &pe.Failures[i].SendError
		}
	}
	if len(receipts) != len(ids) || (err == nil) != (len(failures) == 0) {
		w.faultLocked("%d messages, %d receipts, %d failures, error %v", len(ids), len(receipts), len(failures), err)
	}
	for n, i := range ids {
		w.tales[i] = &tale{accepted: true, told: 1, err: failures[n]}
		if (receipts[n].Topic == "") != (failures[n] != nil) {
			w.faultLocked("%v has receipt %v and error %v", i, receipts[n], failures[n])
		}
	}
}

func (w *world) flushNowAndThen() {
	for range 5 {
		<-time.After(w.duration(2 * time.Second))
		w.mu.Lock()
		var before []*tale
		for _, t := range w.tales {
			if t.accepted {
				before = append(before, t)
			}
		}
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), w.duration(10*time.Second))
		err := w.p.Flush(ctx)
		w.mu.Lock()
		for _, t := range before {
			if err == nil && t.told == 0 {
				w.faultLocked("Flush returned before a callback")
			}
		}
		w.mu.Unlock()
		cancel()
	}
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), w.plan.Grace)
	defer cancel()
	err := w.p.Close(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.faultLocked("Close returned and the sender is open")
	}
	if err != nil && w.plan.Grace == time.Hour && w.plan.Timeout == time.Second {
		w.faultLocked("Close had time: %v", err)
	}
}

func (w *world) check() {
	for i, t := range w.tales {
		if t.told != 1 {
			w.fault("%v was told %d times", i, t.told)
			continue
		}
		w.checkOutcome(i, t.err, w.times[i])
	}
	if w.plan.Order == OrderPerKey {
		for key, ids := range w.stored {
			if !slices.IsSortedFunc(ids, func(a, b id) int { return a.n - b.n }) {
				w.fault("key %s is stored as %v", key, ids)
			}
		}
	}
	w.checkEmpty()
}

func (w *world) checkOutcome(i id, err error, times int) {
	var e *SendError
	switch {
	case err == nil:
		if times == 0 {
			w.fault("%v was confirmed and not stored", i)
		}
	case !errors.As(err, &e):
		w.fault("%v failed with a %T", i, err)
	case e.Outcome == NotSent && times > 0:
		w.fault("%v was not sent and is stored: %v", i, err)
	case (e.Outcome == Refused) && !i.refused():
		w.fault("%v was refused: %v", i, err)
	}
}

// checkEmpty looks for what was left behind.
func (w *world) checkEmpty() {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room.messages != p.cfg.MaxBuffered || p.room.bytes != p.cfg.MaxBufferedBytes {
		w.fault("room of %d messages and %d bytes is lost", p.cfg.MaxBuffered-p.room.messages, p.cfg.MaxBufferedBytes-p.room.bytes)
	}
	if p.out+p.unreported+p.room.waiting.Len()+len(p.retries)+len(p.reports)+len(p.flushes) > 0 || p.sending || p.reporting {
		w.fault("the publisher is not idle")
	}
	for _, q := range append(slices.Clone(p.lanes), p.ready, p.waited, p.unwaited) {
		if q.first != nil || q.last != nil {
			w.fault("a queue is not empty")
		}
	}
}
