package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// totals are what the two groups found, when they are through.
type totals struct {
	rows    int
	revenue mils
	months  map[string]mils
	top     []ranked // customers by revenue
	digest  uint64

	matched, partly, unfound int // cancellations that undo all they say, a part, nothing
	undone                   undone

	orders                  int
	full, touched, unharmed int // orders that were cancelled as a whole, in part, not at all
}

// ranked is a customer and what he spent.
type ranked struct {
	customer string
	revenue  mils
}

const topCustomers = 5

// totals are those of the run; without a store those of this process's memory.
func (j *job) totals(ctx context.Context) (*totals, error) {
	t := &totals{rows: j.input.rows, months: make(map[string]mils)}
	if j.vault != nil {
		err := j.vault.totals(ctx, t)
		return t.ranked(), err
	}
	t.unfound = j.progress.counted(returnsGroup, tally{deadLettered, errUnmatched})
	j.accounts.each(t.addAccount)
	j.customers.each(t.addCustomer)
	return t.ranked(), nil
}

// ranked leaves the first of the customers.
func (t *totals) ranked() *totals {
	slices.SortFunc(t.top, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.revenue, a.revenue), cmp.Compare(a.customer, b.customer))
	})
	t.top = t.top[:min(topCustomers, len(t.top))]
	return t
}

func (t *totals) addAccount(customer string, a *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == 0 {
		return // of this customer no line could be read
	}
	t.revenue += a.revenue
	for month, revenue := range a.months {
		t.months[month] += revenue
	}
	if customer != "" {
		t.top = append(t.top, ranked{customer, a.revenue})
	}
	t.digest += a.digest.Sum64()
}

func (t *totals) addCustomer(_ string, c *customer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.matched += c.matched
	t.partly += c.partly
	t.undone.units += c.undone.units
	t.undone.worth += c.undone.worth
	t.orders += len(c.orders)
	for _, o := range c.orders {
		switch o.undone {
		case 0:
			t.unharmed++
		case o.ordered:
			t.full++
		default:
			t.touched++
		}
	}
}

// named gives each total the name that it has in the data set's totals.tsv.
// Money is in mils.
func (t *totals) named() map[string]any {
	all := map[string]any{
		"rows":                        t.rows,
		"revenue_mils":                t.revenue,
		"order_digest.customer":       t.digestText(),
		"cancel.lines_with_customer":  t.matched + t.partly + t.unfound,
		"cancel.lines_matched_fully":  t.matched,
		"cancel.lines_matched_partly": t.partly,
		"cancel.lines_unmatched":      t.unfound,
		"cancel.units_matched":        t.undone.units,
		"cancel.mils_matched":         t.undone.worth,
		"orders.with_customer":        t.orders,
		"orders.fully_cancelled":      t.full,
		"orders.partly_cancelled":     t.touched,
		"orders.untouched":            t.unharmed,
	}
	for month, revenue := range t.months {
		all["revenue_mils.month."+month] = revenue
	}
	for _, r := range t.top {
		all["revenue_mils.customer."+r.customer] = r.revenue
	}
	return all
}

func (t *totals) digestText() string { return fmt.Sprintf("%016x", t.digest) }

// text is the totals for people. Money is in pounds.
func (t *totals) text() string {
	var b strings.Builder
	line := func(name string, value any, format string, args ...any) {
		text := fmt.Sprintf("%-16s %16v  %s", name, value, fmt.Sprintf(format, args...))
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("revenue", t.revenue, "pounds, of %d rows", t.rows)
	for _, month := range slices.Sorted(maps.Keys(t.months)) {
		line("  "+month, t.months[month], "")
	}
	for i, r := range t.top {
		line("  customer "+r.customer, r.revenue, "number %d", i+1)
	}
	line("cancelled", t.undone.worth, "pounds, %d units", t.undone.units)
	line("  lines", t.matched+t.partly+t.unfound, "of customers: %d undo all they say, %d a part, %d nothing",
		t.matched, t.partly, t.unfound)
	line("  orders", t.orders, "of customers: %d cancelled, %d in part, %d not", t.full, t.touched, t.unharmed)
	line("digest", t.digestText(), "of every customer's rows in their order")
	return b.String()
}
