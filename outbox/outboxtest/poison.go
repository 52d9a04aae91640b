package outboxtest

import (
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
