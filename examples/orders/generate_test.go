package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestGeneratedStreamFollowsFromItsSeed(t *testing.T) {
	one := all(t, generated(1, 2000))
	if again := all(t, generated(1, 2000)); !slices.Equal(one, again) {
		t.Error("one seed, two streams")
	}
	if longer := all(t, generated(1, 3000)); !slices.Equal(one, longer[:2000]) {
		t.Error("the length changes the rows")
	}
	if other := all(t, generated(2, 2000)); slices.Equal(one, other) {
		t.Error("two seeds, one stream")
	}
}

// The generated stream has all that makes the real one hard.
func TestGeneratedStreamHasTheShapeOfTheRealOne(t *testing.T) {
	const rows = 50_000
	kinds := map[string]func(l, last line) bool{
		"exact repeat":           func(l, last line) bool { l.Row = last.Row; return l == last },
		"cancellation":           func(l, _ line) bool { return strings.HasPrefix(l.Invoice, "C") },
		"bad debt":               func(l, _ line) bool { return strings.HasPrefix(l.Invoice, "A") && l.Price[0] == '-' },
		"negative, no C":         func(l, _ line) bool { return l.Quantity[0] == '-' && l.Invoice[0] != 'C' },
		"negative of a customer": func(l, _ line) bool { return l.Quantity[0] == '-' && l.Invoice[0] != 'C' && l.Customer != "" },
		"price zero":             func(l, _ line) bool { return l.Price == "0.0" },
		"three decimals":         func(l, _ line) bool { return strings.IndexByte(l.Price, '.') == len(l.Price)-4 },
		"no description":         func(l, _ line) bool { return l.Description == "" },
		"space at an end":        func(l, _ line) bool { return strings.TrimSpace(l.Description) != l.Description },
		"comma and quote": func(l, _ line) bool {
			return strings.Contains(l.Description, `"`) && strings.Contains(l.Description, ",")
		},
		"not ASCII": func(l, _ line) bool {
			return strings.IndexFunc(l.Description, func(r rune) bool { return r > unicode.MaxASCII }) >= 0
		},
		"lower case of stock": func(l, _ line) bool { return strings.HasSuffix(l.Stock, "a") },
	}
	counts, byCustomer, months := make(map[string]int), make(map[string]int), make(map[string]bool)
	var last line
	for _, l := range all(t, generated(1, rows)) {
		for kind, is := range kinds {
			if is(l, last) {
				counts[kind]++
			}
		}
		byCustomer[l.Customer]++
		months[l.Time[:7]] = true
		last = l
	}
	for kind := range kinds {
		if counts[kind] == 0 {
			t.Errorf("no row of the kind %q", kind)
		}
	}
	if n := byCustomer[""]; n < rows/5 || n > rows/3 {
		t.Errorf("%d rows without a customer", n)
	}
	delete(byCustomer, "")
	most := 0
	for _, n := range byCustomer {
		most = max(most, n)
	}
	if len(byCustomer) < 500 || most < 10*rows/len(byCustomer) {
		t.Errorf("%d customers, the busiest with %d rows", len(byCustomer), most)
	}
	if len(months) < 3 {
		t.Errorf("%d months", len(months))
	}
}

func TestGeneratedCancellationsGoAllWays(t *testing.T) {
	named := sum(t, generated(1, 50_000))
	for _, name := range []string{
		"cancel.lines_matched_fully", "cancel.lines_matched_partly", "cancel.lines_unmatched",
		"orders.fully_cancelled", "orders.partly_cancelled", "orders.untouched",
	} {
		if named[name] == "0" {
			t.Errorf("%s is 0", name)
		}
	}
}
