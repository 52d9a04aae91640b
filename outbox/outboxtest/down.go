package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/supervision"
)

// counted counts what is read of a source.
type counted struct {
	outbox.Source

	rows atomic.Int64
}

func (c *counted) Rows(ctx context.Context, n int) ([]outbox.Row, error) {
	found, err := c.Source.Rows(ctx, n)
	c.rows.Add(int64(len(found)))
	return found, err
}

// While the broker is down nothing is read beyond a batch, nothing is judged, and
// the relay can be ended; what comes after is in order.
func testBrokerDown(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	const rows, batch = 90, 10
	var want []string
	for i := range rows {
		want = append(want, fmt.Sprint(i))
		appendTo(t, s, message("k", want[i]))
	}
	up := b.Server().HoldPublishes()
	source := &counted{Source: s.Source}
	seen := newTold()
	config := outbox.Config{
		Source: source, Broker: b, Batch: batch, Observe: seen.observe, LagEvery: 10 * time.Millisecond,
		Policy: supervision.Policy{MaxAttempts: 1, DeadLetter: "dead"},
	}
	stop := relaying(t, config)
	for range 3 { // it tells what waits, and does not go on
		first(t, seen, func(e outbox.Lagging) bool { return e.Lag.Rows == rows })
		seen.forget()
	}
	if n := source.rows.Load(); n > batch {
		t.Errorf("%d rows were read while the broker does not answer, in batches of %d", n, batch)
	}
	stop()
	b.Server().FailPublishes(4, &brokers.SendError{Outcome: brokers.NotSent, Err: errors.New("connection reset")})
	stop = relaying(t, config)
	defer stop()
	up()
	drained(t, s)
	stop()
	var got []string
	for _, m := range b.Server().Messages("orders") {
		if !slices.Contains(got, m.ID) {
			got = append(got, m.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if letters := b.Server().Messages("dead"); len(letters) > 0 {
		t.Errorf("%d messages were given up for the broker's fault", len(letters))
	}
}

func (o *told) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = nil
}

// What the inbox has kept for long enough is forgotten, in several transactions if
// it is much, and nothing else.
func testRetention(t *testing.T, open Open) {
	s := open(t)[0]
	const old = 12_000
	record := func(id string) {
		t.Helper()
		if err := s.InTx(t.Context(), func(tx Tx) error { _, err := tx.Seen(t.Context(), "billing", id); return err }); err != nil {
			t.Fatal(err)
		}
	}
	record("1")
	err := s.InTx(t.Context(), func(tx Tx) error {
		return tx.Exec(t.Context(), fmt.Sprintf(`INSERT INTO troupe_inbox (consumer, id, at)
			WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT consumer || i, id, at FROM troupe_inbox CROSS JOIN n`, old))
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	fresh := make(chan struct{})
	go func() {
		<-fresh
		ended <- outbox.Retention{Inbox: s.Pruner, Keep: 500 * time.Millisecond, Every: time.Millisecond}.Run(ctx)
	}()
	aged := time.NewTimer(600 * time.Millisecond) // the store's clock is what counts
	<-aged.C
	close(fresh)
	limit := time.After(20 * time.Second)
	for left := int64(old); left > 0; {
		if left, err = s.Int(t.Context(), `SELECT count(*) FROM troupe_inbox`); err != nil {
			t.Fatal(err)
		}
		select {
		case <-limit:
			t.Fatalf("%d are left", left)
		default:
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	record("2")
	if n, err := s.Pruner.Prune(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("forgot %d of what is new, %v", n, err)
	}
}
