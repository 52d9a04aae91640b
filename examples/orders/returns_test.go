package main

import (
	"errors"
	"testing"
)

// sell and undo are lines of one customer, of product "S" at 1 pound.
func sell(row int, invoice string, quantity int) sale {
	return sale{row: row, invoice: invoice, stock: "S", customer: "1", quantity: quantity, price: 1000}
}

func undo(row, quantity int) sale { return sell(row, "C9", -quantity) }

func take(t *testing.T, c *customer, sales ...sale) {
	t.Helper()
	for _, s := range sales {
		if err := c.take(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCancellationsUndoTheNewestFirst(t *testing.T) {
	c := newCustomer("1")
	take(t, c, sell(1, "1", 5), sell(2, "2", 5), undo(3, 7))
	if c.orders["2"].undone != 5 || c.orders["1"].undone != 2 || c.matched != 1 {
		t.Errorf("%+v, %+v, %d", c.orders["1"], c.orders["2"], c.matched)
	}
	take(t, c, sell(4, "3", 1), undo(5, 10))
	if c.orders["3"].undone != 1 || c.orders["1"].undone != 5 || c.partly != 1 || c.undone != (undone{11, 11_000}) {
		t.Errorf("%+v, %+v, %+v", c.orders["3"], c.orders["1"], c.undone)
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	otherPrice, otherStock := undo(3, 1), undo(3, 1)
	otherPrice.price, otherStock.stock = 1001, "s"
	nobody := sell(3, "2", 1)
	nobody.customer = ""
	tests := map[string]struct {
		sale sale
		want error
	}{
		"other price":             {otherPrice, errUnmatched},
		"other stock":             {otherStock, errUnmatched},
		"no customer":             {nobody, errNoSale},
		"adjustment":              {sell(3, "2", -1), errNoSale},
		"nothing":                 {sell(3, "2", 0), errNoSale},
		"cancellation of nothing": {undo(3, 0), errNoSale},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCustomer("1")
			take(t, c, sell(1, "1", 5))
			if err := c.take(test.sale); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if c.last != 1 || len(c.orders) != 1 || c.undone.units != 0 {
				t.Errorf("changed: %+v", c)
			}
		})
	}
}

func TestALineThatComesAgainIsNotBookedAgain(t *testing.T) {
	c := newCustomer("1")
	take(t, c, sell(1, "1", 5), undo(2, 3), sell(1, "1", 5), undo(2, 3))
	if c.undone.units != 3 || c.orders["1"].ordered != 5 {
		t.Errorf("%+v, %+v", c.undone, c.orders["1"])
	}
}
