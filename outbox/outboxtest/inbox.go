package outboxtest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/outbox"
)

// Scenario B25: two consumers of one message each handle it once, together with
// what they do; a failed attempt leaves nothing.
func testInbox(t *testing.T, open Open) {
	s := open(t)[0]
	err := s.InTx(t.Context(), func(tx Tx) error {
		return tx.Exec(t.Context(), `CREATE TABLE sums (consumer TEXT PRIMARY KEY, sum INTEGER)`)
	})
	if err != nil {
		t.Fatal(err)
	}
	errFlaky := errors.New("flaky")
	handle := func(consumer string, fail bool) error {
		return s.InTx(t.Context(), func(tx Tx) error {
			before, err := tx.Seen(t.Context(), consumer, "m-1")
			if err != nil || before {
				return err
			}
			err = tx.Exec(t.Context(), `INSERT INTO sums VALUES ('`+consumer+`', 5) ON CONFLICT (consumer) DO UPDATE SET sum = sums.sum + 5`)
			err = errors.Join(err, tx.Append(t.Context(), message("k", "m-1>"+consumer)))
			if fail {
				return errors.Join(err, errFlaky)
			}
			return err
		})
	}
	if err := handle("audit", true); !errors.Is(err, errFlaky) {
		t.Fatal(err)
	}
	var deliveries sync.WaitGroup
	for range 4 {
		for _, consumer := range []string{"billing", "audit"} {
			deliveries.Go(func() {
				if err := handle(consumer, false); err != nil {
					t.Error(err)
				}
			})
		}
	}
	deliveries.Wait()
	for _, consumer := range []string{"billing", "audit"} {
		sum, err := s.Int(t.Context(), `SELECT sum FROM sums WHERE consumer = '`+consumer+`'`)
		if err != nil || sum != 5 {
			t.Errorf("%s has %d, %v; want 5", consumer, sum, err)
		}
	}
	rows, err := s.Source.Rows(t.Context(), 100)
	if err != nil || len(rows) != 2 {
		t.Errorf("%d messages wait, %v; want one of each", len(rows), err)
	}
	err = s.InTx(t.Context(), func(tx Tx) error { _, err := tx.Seen(t.Context(), "billing", ""); return err })
	if !errors.Is(err, outbox.ErrNoID) {
		t.Errorf("no id: %v", err)
	}
	forgotten, err := s.Pruner.Prune(t.Context(), time.Now().Add(time.Minute))
	if err != nil || forgotten != 2 {
		t.Errorf("pruned %d, %v", forgotten, err)
	}
}

// An ordered source needs one row for each partition: what is not beyond it was
// seen.
func testOffsets(t *testing.T, open Open) {
	s := open(t)[0]
	errFlaky := errors.New("flaky")
	for _, step := range []struct {
		partition  int32
		offset     int64
		fail, want bool
	}{
		{0, 5, true, false},
		{0, 5, false, false},
		{0, 5, false, true},
		{0, 4, false, true},
		{1, 4, false, false},
		{0, 9, false, false},
	} {
		err := s.InTx(t.Context(), func(tx Tx) error {
			before, err := tx.SeenAt(t.Context(), "billing", "orders", step.partition, step.offset)
			if before != step.want {
				t.Errorf("%+v: seen %v", step, before)
			}
			if step.fail {
				return errors.Join(err, errFlaky)
			}
			return err
		})
		if err != nil && !(step.fail && errors.Is(err, errFlaky)) {
			t.Fatal(err)
		}
	}
}
