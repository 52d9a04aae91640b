package main

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"slices"
)

// accountState is an account as it is stored.
type accountState struct {
	Last    int             `json:"last"`
	Revenue mils            `json:"revenue"`
	Months  map[string]mils `json:"months"`
	Digest  []byte          `json:"digest"` // the state of the hash
}

// MarshalJSON implements json.Marshaler.
func (a *account) MarshalJSON() ([]byte, error) {
	digest, err := a.digest.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	return json.Marshal(accountState{a.last, a.revenue, a.months, digest})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *account) UnmarshalJSON(text []byte) error {
	s := accountState{Months: a.months}
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	a.last, a.revenue, a.months = s.Last, s.Revenue, s.Months
	return a.digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.Digest)
}

// customerState is a customer as it is stored.
type customerState struct {
	Last    int                   `json:"last"`
	Units   int                   `json:"units"`
	Worth   mils                  `json:"worth"`
	Matched int                   `json:"matched"`
	Partly  int                   `json:"partly"`
	Orders  map[string]orderState `json:"orders"`
	Open    []openState           `json:"open"`
}

type orderState [2]int // units ordered, undone

// openState is a product of which something is left.
type openState struct {
	Stock string      `json:"stock"`
	Price mils        `json:"price"`
	Items []itemState `json:"items"`
}

type itemState struct {
	Invoice string `json:"invoice"`
	Left    int    `json:"left"`
}

// MarshalJSON implements json.Marshaler.
func (c *customer) MarshalJSON() ([]byte, error) {
	s := customerState{
		Last: c.last, Units: c.undone.units, Worth: c.undone.worth, Matched: c.matched, Partly: c.partly,
		Orders: make(map[string]orderState, len(c.orders)),
	}
	invoices := make(map[*order]string, len(c.orders))
	for invoice, o := range c.orders {
		s.Orders[invoice] = orderState{o.ordered, o.undone}
		invoices[o] = invoice
	}
	for p, items := range c.open {
		open := openState{Stock: p.stock, Price: p.price}
		for _, i := range items {
			open.Items = append(open.Items, itemState{invoices[i.order], i.left})
		}
		if len(items) > 0 {
			s.Open = append(s.Open, open)
		}
	}
	slices.SortFunc(s.Open, func(a, b openState) int {
		return cmp.Or(cmp.Compare(a.Stock, b.Stock), cmp.Compare(a.Price, b.Price))
	})
	return json.Marshal(s)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *customer) UnmarshalJSON(text []byte) error {
	var s customerState
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	c.last, c.undone, c.matched, c.partly = s.Last, undone{s.Units, s.Worth}, s.Matched, s.Partly
	for invoice, o := range s.Orders {
		c.orders[invoice] = &order{o[0], o[1]}
	}
	for _, open := range s.Open {
		key := product{open.Stock, open.Price}
		for _, i := range open.Items {
			o := c.orders[i.Invoice]
			if o == nil {
				return fmt.Errorf("state: a line of %q is open, and there is no such order", i.Invoice)
			}
			c.open[key] = append(c.open[key], &item{o, i.Left})
		}
	}
	return nil
}
