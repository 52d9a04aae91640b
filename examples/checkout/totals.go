package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/sagas"
)

// totals are what is found in the store when all is done. The names are those of
// the data set's totals.
type totals struct {
	full, partly, untouched int // orders of customers
	walkIns                 int // of nobody known
	charged, refunded       mils
	balance                 map[string]int // units by product, from 0
	example                 string         // an order that was cancelled
}

func (t *totals) orders() int { return t.full + t.partly + t.untouched + t.walkIns }

// await returns the totals when all is done.
func (s *shop) await(ctx context.Context, tell *log.Logger) (*totals, error) {
	const poll = 50 * time.Millisecond
	tick, told := time.NewTimer(poll), time.Now()
	defer tick.Stop()
	want := 0
	for i := range s.invoices {
		if s.invoices[i].kind() == sale {
			want++
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		began := time.Now()
		ended, err := s.ended(ctx)
		if err != nil {
			return nil, err
		}
		tick.Reset(max(poll, 10*time.Since(began))) // there may be many, and the work is to have the store
		if len(ended) == want {
			t, through, err := s.collect(ctx, ended)
			if err != nil || through {
				return t, err
			}
		}
		if time.Since(told) > time.Second {
			told = time.Now()
			tell.Printf("%d of %d orders have ended", len(ended), want)
		}
	}
}

// ended are the sagas that have, by order.
func (s *shop) ended(ctx context.Context) (map[string]sagas.Status, error) {
	all := make(map[string]sagas.Status)
	q := sagas.Selection{Statuses: []sagas.Status{sagas.Completed, sagas.Compensated}, Limit: 1000}
	for {
		records, err := s.db.sagas.List(ctx, s.definition().Name, q)
		if err != nil {
			return nil, err
		}
		for i := range records {
			all[records[i].ID] = records[i].Status
		}
		if len(records) < q.Limit {
			return all, nil
		}
		q.After = records[len(records)-1].ID
	}
}

// state reads the state of a participant. It is as it was made if there is none.
func (s *shop) state(ctx context.Context, topic, key string, into any) error {
	r, err := s.db.states.Load(ctx, durable.Scope{Group: s.topic(topic), Topic: s.topic(topic)}, key)
	if err != nil || r.Revision == 0 {
		return err
	}
	return json.Unmarshal(r.State, into)
}

// collect adds up what the participants have. It returns false if what the desk has
// told them has not reached them all.
func (s *shop) collect(ctx context.Context, ended map[string]sagas.Status) (t *totals, through bool, err error) {
	t = &totals{balance: make(map[string]int)}
	through = true
	desks := make(map[string]*desk)
	for i := range s.invoices {
		in := &s.invoices[i]
		d := desks[in.key()]
		if d == nil {
			d = &desk{}
			desks[in.key()] = d
			if err := s.state(ctx, invoicesTopic, in.key(), d); err != nil {
				return nil, false, err
			}
		}
		arrived, err := s.add(ctx, t, in, d, ended[in.No])
		if err != nil {
			return nil, false, err
		}
		through = through && arrived
	}
	return t, through, nil
}

// add adds what an invoice has led to. It returns false if that is not all.
func (s *shop) add(ctx context.Context, t *totals, in *invoice, d *desk, status sagas.Status) (arrived bool, err error) {
	var goods stock
	var paid payment
	if err := cmp.Or(s.state(ctx, stockTopic, in.No, &goods), s.state(ctx, paymentsTopic, in.No, &paid)); err != nil {
		return false, err
	}
	for product, gone := range goods.Gone {
		t.balance[product] -= gone
	}
	if in.kind() != sale {
		return goods.Returns > 0 == slices.Contains(d.Booked, in.No), nil
	}
	o := d.Orders[in.No]
	t.charged += paid.Charged
	t.refunded += paid.Refunded
	switch {
	case in.Customer == "":
		t.walkIns++
	case status == sagas.Compensated:
		t.full++
		t.example = cmp.Or(t.example, in.No)
	case o.Returns > 0:
		t.partly++
	default:
		t.untouched++
	}
	return goods.Returns == o.Returns && paid.Returns == o.Returns && (status == sagas.Compensated) == (o.Left == 0), nil
}

// named gives each total the name that it has in the data set's totals.tsv. Money
// is in mils.
func (t *totals) named() map[string]any {
	all := map[string]any{
		"orders.with_customer": t.full + t.partly + t.untouched, "orders.fully_cancelled": t.full,
		"orders.partly_cancelled": t.partly, "orders.untouched": t.untouched, "cancel.mils_matched": t.refunded, "charged_mils": t.charged,
	}
	sum := 0
	for product, units := range t.balance {
		all["stock_balance."+product] = units
		sum += units
	}
	all["stock_balance.all"] = sum
	return all
}

// text is the totals for people.
func (t *totals) text() string {
	var b strings.Builder
	line := func(name string, value any, format string, args ...any) {
		text := fmt.Sprintf("%-10s %16v  %s", name, value, fmt.Sprintf(format, args...))
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("orders", t.orders(), "of customers: %d cancelled, %d in part, %d not; of nobody known: %d", t.full, t.partly, t.untouched, t.walkIns)
	line("charged", t.charged, "pounds")
	line("refunded", t.refunded, "pounds")
	line("stock", t.named()["stock_balance.all"], "units, from 0, of %d products; least of:", len(t.balance))
	products := slices.SortedFunc(maps.Keys(t.balance), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.balance[a], t.balance[b]), cmp.Compare(a, b))
	})
	for _, product := range products[:min(3, len(products))] {
		line("  "+product, t.balance[product], "")
	}
	return b.String()
}

// timeline is all that happened to an order.
func (s *shop) timeline(ctx context.Context, order string) (string, error) {
	h, err := s.sagas.Find(ctx, order)
	if err != nil {
		return "", err
	}
	in, err := h.Query(ctx)
	if err != nil {
		return "", err
	}
	log, err := h.Timeline(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "order %s, %v: %s\n", order, in.Status, in.Reason)
	for _, e := range log {
		what := string(e.What)
		if e.Step != "" {
			what = fmt.Sprintf("%s %s: %s", e.Verb, e.Step, e.What)
		}
		text := fmt.Sprintf("%10v  %-28s %s", e.At.Sub(in.Began).Round(time.Millisecond/10), what, e.Reason)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	return b.String(), nil
}
