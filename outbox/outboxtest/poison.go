package outboxtest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/supervision"
)

// A message that the broker refuses holds its key, and ends as a dead letter.
func testPoison(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	b.Server().OnPublish(func(m brokers.Message) error {
		if m.ID == "bad" && m.Topic == "orders" {
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "1"), message("a", "bad"), message("a", "3"), message("b", "4"))
	policy := supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(20 * time.Millisecond), DeadLetter: "dead"}
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Policy: policy})
	defer stop()
	drained(t, s)
	ids := await(t, b, "orders", 3)
	if slices.Index(ids, "1") > slices.Index(ids, "3") || slices.Index(ids, "4") > slices.Index(ids, "3") {
		t.Errorf("published %q: 3 is to wait for the one before it, and 4 is not", ids)
	}
	letters := b.Server().Messages("dead")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	original, letter, err := supervision.Decode(&letters[0])
	if err != nil || original.ID != "bad" || letter.Attempts != 3 || !strings.Contains(letter.ErrorMessage, "large") {
		t.Errorf("letter %+v of %q, %v", letter, original.ID, err)
	}
}

// A message's attempts are counted over all relays that lead one after the other, so
// it is given up though none leads for long enough; a broker that is down burns none.
func testPoisonRestarts(t *testing.T, open Open) {
	both, b := open(t), newBroker(t)
	appendTo(t, both[0], message("a", "bad"), message("a", "2"))
	seen := newTold()
	begin := func(i int) (stop func()) {
		down := 3
		b.Server().OnPublish(func(m brokers.Message) error {
			if down--; down >= 0 {
				return &brokers.SendError{Outcome: brokers.NotSent, Err: errors.New("connection reset")}
			}
			if m.ID == "bad" && m.Topic == "orders" {
				return brokers.ErrTooLarge
			}
			return nil
		})
		policy := supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(time.Hour), DeadLetter: "dead"}
		return relaying(t, outbox.Config{Source: both[i%2].Source, Broker: b, Policy: policy, Observe: seen.observe})
	}
	var began time.Time
	for attempt := 1; attempt < 3; attempt++ {
		stop := begin(attempt)
		parked := first(t, seen, always[outbox.Parked])
		stop()
		seen.forget()
		if attempt == 1 {
			began = parked.Failure.FirstAt
		}
		if f := parked.Failure; f.Attempt != attempt || f.FirstAt.Sub(began).Abs() > time.Millisecond {
			t.Errorf("relay %d tells of attempt %d since %v, want since %v", attempt, f.Attempt, f.FirstAt, began)
		}
	}
	stop := begin(3)
	defer stop()
	drained(t, both[0])
	if ids := await(t, b, "orders", 1); !slices.Equal(ids, []string{"2"}) {
		t.Errorf("published %q", ids)
	}
	letters := b.Server().Messages("dead")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	if _, letter, err := supervision.Decode(&letters[0]); err != nil || letter.Attempts != 3 {
		t.Errorf("letter %+v, %v", letter, err)
	}
}

// Without a dead-letter topic it stays, and holds nobody else.
func testParked(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	var mended sync.Map
	b.Server().OnPublish(func(m brokers.Message) error {
		if _, ok := mended.Load("yes"); m.ID == "bad" && !ok {
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "bad"), message("a", "2"), message("b", "3"))
	policy := supervision.Policy{MaxAttempts: 1, Backoff: supervision.Constant(10 * time.Millisecond)}
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Policy: policy})
	defer stop()
	if ids := await(t, b, "orders", 1); !slices.Equal(ids, []string{"3"}) {
		t.Errorf("published %q, want 3", ids)
	}
	mended.Store("yes", true)
	drained(t, s)
	if ids := await(t, b, "orders", 3); !slices.Equal(ids, []string{"3", "bad", "2"}) {
		t.Errorf("published %q", ids)
	}
}

// A held key stays in order when its rows are read in several batches, and its time
// comes between two of them.
func testHeldAcrossBatches(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	refusals := 0
	b.Server().OnPublish(func(m brokers.Message) error {
		if m.ID == "bad" && refusals < 30 {
			refusals++
			return brokers.ErrTooLarge
		}
		return nil
	})
	appendTo(t, s, message("a", "bad"), message("a", "2"), message("a", "3"), message("a", "4"))
	policy := supervision.Policy{MaxAttempts: -1, Backoff: supervision.Constant(time.Nanosecond)}
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Policy: policy, Batch: 1})
	defer stop()
	if ids := await(t, b, "orders", 4); !slices.Equal(ids, []string{"bad", "2", "3", "4"}) {
		t.Errorf("published %q", ids)
	}
}
