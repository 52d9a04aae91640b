package main

import (
	"time"

	"github.com/troupe-go/troupe/sagas"
)

// order is the state of a saga.
type order struct {
	Invoice invoice
	Total   mils
}

func newOrder(i invoice) order {
	o := order{Invoice: i}
	for _, l := range i.Lines {
		o.Total += mils(l.Units) * l.Price
	}
	return o
}

// season is how long the warehouse may keep an order that was packed.
const season = 400 * 24 * time.Hour

// patience is how long the others may take. No message is lost, so they will answer;
// but all that a year has brought may wait before it.
const patience = time.Hour

// definition is what becomes of an order. Up to its shipping it can be undone.
func (s *shop) definition() *sagas.Definition[order] {
	send := func(topic string, timeout time.Duration, name string, body func(order) any) sagas.Action[order] {
		return sagas.Send(timeout, func(o order) sagas.Command {
			return sagas.Command{Topic: s.topic(topic), Type: name, Body: body(o)}
		}, nil)
	}
	lines := func(o order) any { return reserve{o.Invoice.Lines} }
	total := func(o order) any { return charge{o.Invoice.Customer, o.Total} }
	nothing := func(order) any { return struct{}{} } // the type says it
	return &sagas.Definition[order]{
		Name: "checkout", Version: 1,
		Steps: []sagas.Step[order]{
			{Name: "reserve", Do: send(stockTopic, patience, "reserve", lines), Undo: send(stockTopic, patience, "release", nothing)},
			{Name: "charge", Do: send(paymentsTopic, patience, "charge", total), Undo: send(paymentsTopic, patience, "refund", nothing)},
			{Name: "pack", Do: send(warehouseTopic, season, "pack", nothing), Undo: send(warehouseTopic, patience, "unpack", nothing)},
			{Name: "ship", Kind: sagas.Pivot, Do: send(warehouseTopic, patience, "ship", nothing)},
		},
	}
}
