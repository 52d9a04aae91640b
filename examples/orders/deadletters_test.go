package main

import (
	"strings"
	"testing"

	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// A field that cannot be read costs its row only, which the ledger keeps with
// the reason.
func TestBadRowsAreDeadLettered(t *testing.T) {
	good := line{1, "536365", "22423", "CAKE STAND", "2", "2010-12-01 08:26:00", "12.75", "17850", "France"}
	lines := []line{good}
	for i, spoil := range []func(l *line){
		func(l *line) { l.Quantity = "two" },
		func(l *line) { l.Price = "1.2345" },
		func(l *line) { l.Time = "1/12/2010" },
	} {
		l := good
		l.Row = i + 2
		spoil(&l)
		lines = append(lines, l)
	}
	broker := newBroker(t, memory.Config{})
	j, report := work(t, options{}, inputOf(lines...), broker)
	if got := foundBy(t, j); got.revenue != 25_500 || got.orders != 1 {
		t.Errorf("revenue %v, %d orders", got.revenue, got.orders)
	}
	if got := report.Groups[returnsGroup]; got.Discarded != 3 {
		t.Errorf("returns: %v", got)
	}
	reasons := []string{
		`bad line: row 2, invoice "536365", Quantity: `,
		`bad line: row 3, invoice "536365", UnitPrice: "1.2345" `,
		`bad line: row 4, invoice "536365", InvoiceDate: `,
	}
	letters := broker.Server().Messages(ledgerDead)
	if len(letters) != len(reasons) {
		t.Fatalf("%d dead letters", len(letters))
	}
	for i := range letters {
		_, letter, err := supervision.Decode(&letters[i])
		if err != nil || !strings.HasPrefix(letter.ErrorMessage, reasons[i]) || letter.Attempts != 1 {
			t.Errorf("%v: %+v", err, letter)
		}
	}
}

func TestUnmatchedCancellationsAreDeadLettered(t *testing.T) {
	broker := newBroker(t, memory.Config{})
	j, _ := work(t, options{}, inputOf(
		line{1, "536365", "22423", "", "5", "2010-12-01 08:26:00", "12.75", "17850", ""},
		line{2, "C536366", "22423", "", "-7", "2010-12-01 08:27:00", "12.75", "17850", ""},
		line{3, "C536367", "22423", "", "-1", "2010-12-01 08:28:00", "12.75", "17850", ""},
	), broker)
	letters := broker.Server().Messages(returnsDead)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	original, letter, err := supervision.Decode(&letters[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `nothing to undo: row 3, invoice "C536367": customer 17850 has no open line of "22423" at 12.750`
	if letter.ErrorMessage != want || string(original.Key) != "17850" || !strings.HasSuffix(original.ID, "/3") {
		t.Errorf("%q, key %q, id %q", letter.ErrorMessage, original.Key, original.ID)
	}
	if got := foundBy(t, j); got.partly != 1 || got.unfound != 1 || got.undone != (undone{5, 63_750}) || got.full != 1 {
		t.Errorf("%+v", got)
	}
}
