package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/troupe-go/troupe/actors"
)

// desk is the actor of a customer at the shop's desk: it takes orders, and finds
// what cancellations undo.
type desk struct {
	Orders map[string]*sold   // by invoice
	Open   map[string][]*open // by product and price, the newest last
	Booked []string           // invoices that were booked without an order

	shop *shop
}

// sold is what is left of an order, in units.
type sold struct {
	Left    int
	Returns int // invoices that undid a part of it
}

// open is what is left of a line of an order.
type open struct {
	Order string
	Left  int
}

// closed says that a customer's season is over.
type closed struct{}

func (s *shop) desk() actors.Actor {
	b := actors.Durable(func(string) *desk {
		return &desk{Orders: make(map[string]*sold), Open: make(map[string][]*open), shop: s}
	}, s.durability())
	actors.On(b, "invoice", (*desk).invoice)
	actors.On(b, "closed", (*desk).closed)
	return b
}

func (d *desk) invoice(ctx *actors.Context, i invoice) error {
	switch i.kind() {
	case sale:
		return d.sale(ctx, i)
	case cancellation:
		return d.cancellation(ctx, i)
	}
	return d.adjustment(ctx, i)
}

// sale begins an order. That is safe to repeat: an equal start of the same id is
// the same saga.
func (d *desk) sale(ctx *actors.Context, i invoice) error {
	if i.Customer == "" { // who takes the goods along cannot cancel
		if err := ctx.Publish(d.shop.topic(warehouseTopic), dispatch{}, actors.WithKey([]byte(i.No))); err != nil {
			return err
		}
	}
	o := &sold{}
	for _, l := range i.Lines {
		o.Left += l.Units
		if i.Customer != "" {
			d.Open[l.product()] = append(d.Open[l.product()], &open{i.No, l.Units})
		}
	}
	d.Orders[i.No] = o
	return d.shop.start(ctx.Base(), i)
}

func (s *shop) start(ctx context.Context, i invoice) error {
	_, err := s.sagas.Start(ctx, i.No, newOrder(i))
	return err
}

// product is what a cancellation must agree in with what it undoes.
func (l *line) product() string { return fmt.Sprint(l.Stock, " at ", l.Price) }

// cancellation undoes units of the customer's newest lines first. An order of which
// nothing is left is refused by the warehouse, and its saga gives back what it had.
// Of others the stock and the payments are told what came back; what belongs to no
// order goes to the stock.
func (d *desk) cancellation(ctx *actors.Context, i invoice) error {
	parts := make(map[string][]line)
	var unmatched []line
	for _, l := range i.Lines {
		left := l
		left.Units = -l.Units
		for left.Units > 0 && len(d.Open[l.product()]) > 0 {
			part := left
			var from string
			from, part.Units = d.take(l.product(), left.Units)
			parts[from] = append(parts[from], part)
			left.Units -= part.Units
		}
		if left.Units > 0 {
			unmatched = append(unmatched, left)
		}
	}
	for _, no := range slices.Sorted(maps.Keys(parts)) {
		if err := d.returned(ctx, no, i.No, parts[no]); err != nil {
			return err
		}
	}
	if len(unmatched) == 0 {
		return nil
	}
	return d.book(ctx, i.No, unmatched)
}

// take undoes up to so many units of the newest open line.
func (d *desk) take(product string, units int) (order string, taken int) {
	lines := d.Open[product]
	newest := lines[len(lines)-1]
	taken = min(units, newest.Left)
	newest.Left -= taken
	d.Orders[newest.Order].Left -= taken
	if newest.Left == 0 {
		d.Open[product] = lines[:len(lines)-1]
	}
	return newest.Order, taken
}

// returned tells of what came back of an order.
func (d *desk) returned(ctx *actors.Context, no, by string, lines []line) error {
	key := actors.WithKey([]byte(no))
	if d.Orders[no].Left == 0 {
		return ctx.Publish(d.shop.topic(warehouseTopic), cancel{by}, key)
	}
	d.Orders[no].Returns++
	if err := ctx.Publish(d.shop.topic(stockTopic), returned{lines}, key); err != nil {
		return err
	}
	return ctx.Publish(d.shop.topic(paymentsTopic), returned{lines}, key)
}

// adjustment books what has come or gone without an order.
func (d *desk) adjustment(ctx *actors.Context, i invoice) error {
	lines := slices.Clone(i.Lines)
	for n := range lines {
		lines[n].Units = -lines[n].Units // what comes
	}
	return d.book(ctx, i.No, lines)
}

func (d *desk) book(ctx *actors.Context, no string, lines []line) error {
	d.Booked = append(d.Booked, no)
	return ctx.Publish(d.shop.topic(stockTopic), returned{lines}, actors.WithKey([]byte(no)))
}

// closed has the warehouse send what is left of the customer's orders.
func (d *desk) closed(ctx *actors.Context, _ closed) error {
	for _, no := range slices.Sorted(maps.Keys(d.Orders)) {
		if d.Orders[no].Left == 0 {
			continue
		}
		if err := ctx.Publish(d.shop.topic(warehouseTopic), dispatch{}, actors.WithKey([]byte(no))); err != nil {
			return err
		}
	}
	return nil
}
