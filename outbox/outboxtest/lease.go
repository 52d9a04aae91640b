package outboxtest

import (
	"errors"
	"testing"
	"time"

	"github.com/troupe-go/troupe/outbox"
)

// One relay has the lease, and one that has lost it forgets no rows.
func testLease(t *testing.T, open Open) {
	both := open(t)
	a, b, ctx := both[0].Source, both[1].Source, t.Context()
	appendTo(t, both[0], message("k", "1"), message("k", "2"))
	first, err := a.Lease(ctx, "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Lease(ctx, "a", time.Minute); err != nil || again != first {
		t.Errorf("kept as %d, %v; want %d", again, err, first)
	}
	if _, err := b.Lease(ctx, "b", time.Minute); !errors.Is(err, outbox.ErrLeaseLost) {
		t.Errorf("taken from its holder: %v", err)
	}
	rows, err := a.Rows(ctx, 10)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if err := a.Done(ctx, first, []int64{rows[0].Seq}); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(ctx, first); err != nil {
		t.Fatal(err)
	}
	second, err := b.Lease(ctx, "b", time.Minute)
	if err != nil || second <= first {
		t.Fatalf("epoch %d after %d, %v", second, first, err)
	}
	if err := a.Done(ctx, first, []int64{rows[1].Seq}); !errors.Is(err, outbox.ErrLeaseLost) {
		t.Errorf("an old epoch: %v", err)
	}
	rest, err := b.Rows(ctx, 10)
	if err != nil || len(rest) != 1 || rest[0].Message.ID != "2" {
		t.Errorf("left are %+v, %v", rest, err)
	}
	if lag, err := b.Lag(ctx); err != nil || lag.Rows != 1 {
		t.Errorf("lag %+v, %v", lag, err)
	}
}
