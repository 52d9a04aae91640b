package outboxtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

// What is committed is published as it was, in the order of commits, and what is
// rolled back is not.
func testOutbox(t *testing.T, open Open) {
	s, b := open(t)[0], newBroker(t)
	full := message("a", "1")
	full.Headers = brokers.Headers{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}, {Key: "h", Value: []byte{0, 255}}, {Key: "h"}, {Key: "n", Value: []byte("7"), Kind: brokers.KindInt}}
	full.CorrelationID, full.ReplyTo, full.ContentType, full.Time = "c", "r", "text/plain", time.UnixMilli(1_700_000_000_000)
	appendTo(t, s, full, message("b", "2"))
	errNo := errors.New("no")
	err := s.InTx(t.Context(), func(tx Tx) error {
		return errors.Join(tx.Append(t.Context(), message("a", "rolled back")), errNo)
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	lag, err := s.Source.Lag(t.Context())
	if err != nil || lag.Rows != 2 || time.Since(lag.Oldest) > time.Minute {
		t.Errorf("lag %+v, %v", lag, err)
	}
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b})
	defer stop()
	await(t, b, "orders", 2)
	appendTo(t, s, message("a", "3"), message("a", "4"))
	if ids := await(t, b, "orders", 4); !slices.Equal(ids, []string{"1", "2", "3", "4"}) && !slices.Equal(ids, []string{"2", "1", "3", "4"}) {
		t.Errorf("published %q", ids)
	}
	drained(t, s)
	for _, m := range b.Server().Messages("orders") {
		if m.ID != "1" {
			continue
		}
		if string(m.Key) != "a" || string(m.Payload) != "payload of 1" || m.CorrelationID != "c" || m.ReplyTo != "r" ||
			m.ContentType != "text/plain" || !m.Time.Equal(full.Time) || fmt.Sprint(m.Headers) != fmt.Sprint(full.Headers) {
			t.Errorf("published %+v, want %+v", m, full)
		}
	}
}

func testAppendRefuses(t *testing.T, open Open) {
	s := open(t)[0]
	for name, test := range map[string]struct {
		message brokers.Message
		want    error
	}{
		"no id":    {brokers.Message{Topic: "orders"}, outbox.ErrNoID},
		"no topic": {brokers.Message{ID: "1"}, brokers.ErrInvalid},
		"no route": {brokers.Message{ID: "1", Headers: brokers.Headers{{Key: "kind", Value: []byte("x")}}}, brokers.ErrInvalid},
	} {
		err := s.InTx(t.Context(), func(tx Tx) error { return tx.Append(t.Context(), test.message) })
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// Many writers and two relays, one of which gives way: nothing is lost, nothing of
// a key is out of order, and nothing is published that was rolled back.
func testOutboxUnderLoad(t *testing.T, open Open) {
	all, b := open(t), newBroker(t)
	s := all[0]
	const writers, each = 4, 100
	stop := relaying(t, outbox.Config{Source: s.Source, Broker: b, Lease: time.Second, Batch: 16})
	other := relaying(t, outbox.Config{Source: all[1].Source, Broker: b, Lease: time.Second, Batch: 16})
	defer other()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				err := s.InTx(t.Context(), func(tx Tx) error {
					err := tx.Append(t.Context(), message(fmt.Sprint(w), fmt.Sprintf("%d/%d", w, i)))
					if i%10 == 9 {
						return errors.Join(err, errors.New("changed my mind"))
					}
					return err
				})
				if (err != nil) != (i%10 == 9) {
					t.Errorf("commit: %v", err)
				}
				if w == 0 && i == each/2 {
					stop() // the other takes over
				}
			}
		})
	}
	writing.Wait()
	drained(t, s)
	last := make(map[string]int)
	published := make(map[string]bool)
	for _, m := range b.Server().Messages("orders") {
		var w, i int
		if _, err := fmt.Sscanf(m.ID, "%d/%d", &w, &i); err != nil {
			t.Fatal(err)
		}
		if !published[m.ID] && i < last[string(m.Key)] {
			t.Errorf("key %d: %d after %d", w, i, last[string(m.Key)])
		}
		if i%10 == 9 {
			t.Errorf("%s was rolled back, and published", m.ID)
		}
		published[m.ID], last[string(m.Key)] = true, i
	}
	if len(published) != writers*each*9/10 {
		t.Errorf("%d were published, want %d", len(published), writers*each*9/10)
	}
}
