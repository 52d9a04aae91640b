package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/supervision"
)

// told collects the events of a relay.
type told struct {
	mu     sync.Mutex
	events []outbox.Event
	more   chan struct{}
}

func newTold() *told { return &told{more: make(chan struct{}, 1)} }

func (o *told) observe(e outbox.Event) {
	o.mu.Lock()
	o.events = append(o.events, e)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// first waits for an event.
func first[E outbox.Event](t *testing.T, o *told, wanted func(E) bool) E {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		o.mu.Lock()
		for _, e := range o.events {
			if e, ok := e.(E); ok && wanted(e) {
				o.mu.Unlock()
				return e
			}
		}
		o.mu.Unlock()
		select {
		case <-o.more:
		case <-limit:
			var none E
			t.Fatalf("no such %T was told of: %+v", none, o.events)
		}
	}
}

func always[E outbox.Event](E) bool { return true }

// A message without a topic gets that of its type.
func testRoutes(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	typed := func(id, header, messageType string) brokers.Message {
		return brokers.Message{ID: id, Key: []byte("k"), Headers: brokers.Headers{{Key: header, Value: []byte(messageType)}}}
	}
	explicit := typed("3", "type", "paid")
	explicit.Topic = "orders"
	before := time.Now().Add(-time.Second)
	appendTo(t, s, typed("1", "type", "paid"), typed("2", "ce_type", "paid"), explicit)
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b})
	defer stop()
	if ids := await(t, b, "of paid", 2); !slices.Equal(ids, []string{"1", "2"}) {
		t.Errorf("published %q to the topic of the type", ids)
	}
	if ids := await(t, b, "orders", 1); !slices.Equal(ids, []string{"3"}) {
		t.Errorf("published %q to the topic given", ids)
	}
	if at := b.Server().Messages("orders")[0].Time; at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("a message without a time has %v", at)
	}
}

// A row that cannot be read holds its key and nobody else, until it can.
func testUnreadable(t *testing.T, open Open) {
	both, b := open(t), newBroker(t)
	s := both[0]
	appendTo(t, s, message("a", "1"))
	exec := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if err := s.InTx(t.Context(), func(tx Tx) error { return tx.Exec(t.Context(), statement) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec(`CREATE TABLE saved AS SELECT message FROM troupe_outbox`, `UPDATE troupe_outbox SET message = 'garbage'`)
	appendTo(t, s, message("a", "2"), message("b", "3"))
	seen := newTold()
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Observe: seen.observe, Policy: supervision.Policy{DeadLetter: "dead"}})
	defer stop()
	parked := first(t, seen, always[outbox.Parked])
	if parked.Row.Fault == nil || parked.Row.Seq == 0 || !errors.Is(parked.Failure.Err, parked.Row.Fault) {
		t.Errorf("parked %+v", parked)
	}
	await(t, b, "orders", 1)
	lag := first(t, seen, func(e outbox.Lagging) bool { return e.Lag.Aside > 0 || e.Lag.Rows == 3 }).Lag
	if lag.Oldest.IsZero() {
		t.Errorf("lag %+v", lag)
	}
	appendTo(t, s, message("b", "4"))
	if ids := await(t, b, "orders", 2); !slices.Equal(ids, []string{"3", "4"}) {
		t.Errorf("published %q beside an unreadable row", ids)
	}
	awaitLag(t, s, func(l outbox.Lag) bool { return l.Aside == 2 && l.Rows == 2 })
	stop()
	exec(`UPDATE troupe_aside SET message = (SELECT message FROM saved) WHERE message = 'garbage'`)
	stop = relaying(t, outbox.Config{Source: both[1].Source, Broker: b})
	defer stop()
	if ids := await(t, b, "orders", 4); !slices.Equal(ids, []string{"3", "4", "1", "2"}) {
		t.Errorf("published %q when the row was mended", ids)
	}
	drained(t, s)
}

// A key that waits for long costs no reader anything, whatever comes for it, and in
// the end all of it is published in order, though relays come and go.
func testLongParked(t *testing.T, open Open) {
	both, b := open(t), newBroker(t)
	s := both[0]
	var mended sync.Map
	b.Server().OnPublish(func(m brokers.Message) error {
		if _, ok := mended.Load("yes"); m.ID == "k/0" && !ok {
			return brokers.ErrTooLarge
		}
		return nil
	})
	const rows = 60
	policy := supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(5 * time.Millisecond)}
	config := func(s Store) outbox.Config {
		return outbox.Config{Source: s.Source, Broker: b, Policy: policy, Batch: 7}
	}
	stop := relaying(t, config(s))
	var want []string
	for i := range rows {
		id := fmt.Sprint("k/", i)
		appendTo(t, s, message("k", id), message("other", fmt.Sprint("other/", i)))
		want = append(want, id)
		if i == rows/2 {
			awaitLag(t, s, func(l outbox.Lag) bool { return l.Rows == rows/2+1 && l.Aside == l.Rows })
			stop()
			stop = relaying(t, config(both[1]))
		}
	}
	defer stop()
	await(t, b, "orders", rows)
	awaitLag(t, s, func(l outbox.Lag) bool { return l.Rows == rows && l.Aside == rows })
	mended.Store("yes", true)
	appendTo(t, s, message("k", "last"))
	drained(t, s)
	var got []string
	for _, m := range b.Server().Messages("orders") {
		if string(m.Key) == "k" {
			got = append(got, m.ID)
		}
	}
	if want = append(want, "last"); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// Only so many keys wait; the next one holds up all behind it, which is told.
func testMaxParked(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	var mended sync.Map
	b.Server().OnPublish(func(m brokers.Message) error {
		if _, ok := mended.Load("yes"); m.Payload[0] == 'x' && !ok {
			return brokers.ErrTooLarge
		}
		return nil
	})
	bad := func(key string) brokers.Message {
		m := message(key, "bad "+key)
		m.Payload = []byte("x")
		return m
	}
	appendTo(t, s, bad("a"), bad("b"), bad("c"), message("d", "1"))
	seen := newTold()
	policy := supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(5 * time.Millisecond)}
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Policy: policy, MaxParked: 2, Observe: seen.observe})
	defer stop()
	first(t, seen, always[outbox.Overflowed])
	await(t, b, "orders", 1)
	awaitLag(t, s, func(l outbox.Lag) bool { return l.Rows == 3 && l.Aside == 2 })
	mended.Store("yes", true)
	await(t, b, "orders", 4)
	drained(t, s)
}

// A rule that says Stop ends Run, and the message stays.
func testPolicyStops(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	b.Server().OnPublish(func(m brokers.Message) error {
		if m.ID == "bad" {
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "bad"), message("a", "2"))
	policy := supervision.Policy{Rules: []supervision.Rule{supervision.On(brokers.ErrTooLarge).Stop()}}
	r, err := outbox.NewRelay(outbox.Config{Source: s.Source, Broker: b, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Run(ctx); !errors.Is(err, outbox.ErrStopped) || !errors.Is(err, brokers.ErrTooLarge) {
		t.Errorf("Run returned %v", err)
	}
	if lag, err := s.Source.Lag(t.Context()); err != nil || lag.Rows != 2 {
		t.Errorf("lag %+v, %v; want both rows", lag, err)
	}
}

func awaitLag(t *testing.T, s Store, wanted func(outbox.Lag) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		lag, err := s.Source.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if wanted(lag) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the lag stays at %+v", lag)
		}
	}
}
