package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sums computes the totals again, with loops over all rows and nothing of what
// the program does it with.
type sums struct {
	named     map[string]string
	customers map[string]int64
	open      map[string][]*remnant
	orders    map[string][]*remnant
	units     int64
	worth     int64
	outcomes  [3]int // cancelling lines matched fully, partly, not at all
}

// remnant is a line of an order and what is left of it.
type remnant struct{ ordered, left int64 }

func sum(t *testing.T, in input) map[string]string {
	t.Helper()
	s := &sums{
		named: make(map[string]string), customers: make(map[string]int64),
		open: make(map[string][]*remnant), orders: make(map[string][]*remnant),
	}
	months, texts := make(map[string]int64), make(map[string][]byte)
	var rows, revenue int64
	for l, err := range in.lines {
		if err != nil {
			t.Fatal(err)
		}
		quantity, price := number(t, l.Quantity, 1), number(t, l.Price, 1000)
		rows++
		revenue += quantity * price
		months[l.Time[:7]] += quantity * price
		texts[l.Customer] = append(texts[l.Customer], l.Invoice+","+l.Stock+","+l.Quantity+"\n"...)
		if l.Customer != "" {
			s.customers[l.Customer] += quantity * price
			s.match(l, quantity, price)
		}
	}
	s.set("rows", rows)
	s.set("revenue_mils", revenue)
	for month, mils := range months {
		s.set("revenue_mils.month."+month, mils)
	}
	s.named["order_digest.customer"] = digest(texts)
	s.rank()
	s.cancellations()
	return s.named
}

func (s *sums) set(name string, v int64) { s.named[name] = strconv.FormatInt(v, 10) }

// number is a decimal number times a scale, which must come out whole.
func number(t *testing.T, text string, scale int64) int64 {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no number", text)
	}
	r.Mul(r, big.NewRat(scale, 1))
	if !r.IsInt() {
		t.Fatalf("%q has too many decimals", text)
	}
	return r.Num().Int64()
}

func digest(texts map[string][]byte) string {
	var all uint64
	for _, text := range texts {
		h := fnv.New64a()
		h.Write(text)
		all += h.Sum64()
	}
	return fmt.Sprintf("%016x", all)
}

// match follows the rule of the data set's README.
func (s *sums) match(l line, quantity, price int64) {
	key := fmt.Sprintf("%s|%s|%d", l.Customer, l.Stock, price)
	switch {
	case !strings.HasPrefix(l.Invoice, "C") && quantity > 0:
		line := &remnant{quantity, quantity}
		s.open[key] = append(s.open[key], line)
		s.orders[l.Invoice] = append(s.orders[l.Invoice], line)
	case strings.HasPrefix(l.Invoice, "C"):
		want := -quantity
		for _, line := range slices.Backward(s.open[key]) {
			taken := min(want, line.left)
			line.left -= taken
			want -= taken
		}
		done := -quantity - want
		s.units += done
		s.worth += done * price
		switch {
		case want == 0:
			s.outcomes[0]++
		case done > 0:
			s.outcomes[1]++
		default:
			s.outcomes[2]++
		}
	}
}

func (s *sums) rank() {
	for range 5 {
		best := ""
		for customer, mils := range s.customers {
			if best == "" || mils > s.customers[best] || mils == s.customers[best] && customer < best {
				best = customer
			}
		}
		if best == "" {
			return
		}
		s.set("revenue_mils.customer."+best, s.customers[best])
		delete(s.customers, best)
	}
}

func (s *sums) cancellations() {
	var whole, touched int64
	for _, lines := range s.orders {
		if !slices.ContainsFunc(lines, func(r *remnant) bool { return r.left > 0 }) {
			whole++
		} else if slices.ContainsFunc(lines, func(r *remnant) bool { return r.left < r.ordered }) {
			touched++
		}
	}
	s.set("cancel.lines_with_customer", int64(s.outcomes[0]+s.outcomes[1]+s.outcomes[2]))
	s.set("cancel.lines_matched_fully", int64(s.outcomes[0]))
	s.set("cancel.lines_matched_partly", int64(s.outcomes[1]))
	s.set("cancel.lines_unmatched", int64(s.outcomes[2]))
	s.set("cancel.units_matched", s.units)
	s.set("cancel.mils_matched", s.worth)
	s.set("orders.with_customer", int64(len(s.orders)))
	s.set("orders.fully_cancelled", whole)
	s.set("orders.partly_cancelled", touched)
	s.set("orders.untouched", int64(len(s.orders))-whole-touched)
}

// asPrinted is what -json prints, by name.
func asPrinted(t *testing.T, named map[string]any) map[string]string {
	t.Helper()
	text, err := json.Marshal(named)
	if err != nil {
		t.Fatal(err)
	}
	return decodeTotals(t, text)
}

func decodeTotals(t *testing.T, text []byte) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	got := make(map[string]string)
	for name, value := range raw {
		if name == "order_digest.customer" {
			unquoted, err := strconv.Unquote(string(value))
			if err != nil {
				t.Fatalf("%s is %s, and no string", name, value)
			}
			got[name] = unquoted
			continue
		}
		got[name] = string(value)
	}
	return got
}
