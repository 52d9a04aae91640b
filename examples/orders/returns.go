package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/supervision"
)

const (
	returnsGroup = "returns"
	returnsDead  = "returns.dead"
)

var (
	// errUnmatched says that a cancellation found nothing to undo.
	errUnmatched = errors.New("nothing to undo")
	// errNoSale says that a line neither sells nor cancels anything to anybody.
	errNoSale = errors.New("no sale")
)

// returns is the actor of a customer in the group of that name: it finds what
// each cancellation undoes.
type returns struct{ customer *customer }

func newReturns(customers *book[customer]) actors.Actor {
	actor := actors.PerKey(func(id string) *returns { return &returns{customers.of(id)} })
	actors.On(actor, lineType, (*returns).line)
	return actor
}

// returnsPolicy keeps the cancellations that nothing is known of, and lets go of
// what is nothing to this group; lines that cannot be read are the ledger's.
func returnsPolicy(prefix string) supervision.Policy {
	return supervision.Policy{
		Backoff:    supervision.Exponential(time.Millisecond, time.Second),
		DeadLetter: prefix + returnsDead,
		Rules: []supervision.Rule{
			supervision.On(errUnmatched).DeadLetter(),
			supervision.On(errNoSale).Discard(),
			supervision.On(errBadLine).Discard(),
			supervision.On(errOtherRun).Discard(),
		},
	}
}

func (r *returns) line(_ *actors.Context, in line) error {
	s, err := in.parse()
	if err != nil {
		return err
	}
	return r.customer.take(s)
}

// customer is what a customer ordered, and what is left of it.
type customer struct {
	mu      sync.Mutex
	last    int // the last row that changed something
	open    map[product][]*item
	orders  map[string]*order // by invoice
	undone  undone
	matched int // cancellations used up
	partly  int // cancellations of which a rest found nothing
}

// product is what a cancellation must agree in with what it undoes.
type product struct {
	stock string
	price mils
}

// item is what is left of a line of an order.
type item struct {
	order *order
	left  int
}

type order struct{ ordered, undone int }

// undone is what cancellations took back.
type undone struct {
	units int
	worth mils
}

func newCustomer(string) *customer {
	return &customer{open: make(map[product][]*item), orders: make(map[string]*order)}
}

// take books a sale or a cancellation. If it returns an error, nothing has
// changed: the policy's verdict on the line is the last word on it.
func (c *customer) take(s sale) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.row <= c.last:
		return nil // it came again
	case s.customer == "":
		return fmt.Errorf("%w: row %d has no customer", errNoSale, s.row)
	case s.cancels() && s.quantity < 0:
		if len(c.open[product{s.stock, s.price}]) == 0 {
			return fmt.Errorf("%w: row %d, invoice %q: customer %s has no open line of %q at %v",
				errUnmatched, s.row, s.invoice, s.customer, s.stock, s.price)
		}
		c.undo(s)
	case !s.cancels() && s.quantity > 0:
		c.sell(s)
	default:
		return fmt.Errorf("%w: row %d, invoice %q has quantity %d", errNoSale, s.row, s.invoice, s.quantity)
	}
	c.last = s.row
	return nil
}

func (c *customer) sell(s sale) {
	o := c.orders[s.invoice]
	if o == nil {
		o = &order{}
		c.orders[s.invoice] = o
	}
	o.ordered += s.quantity
	key := product{s.stock, s.price}
	c.open[key] = append(c.open[key], &item{o, s.quantity})
}

// undo takes units off the newest open line, then off older ones. A rest that
// finds none is dropped.
func (c *customer) undo(s sale) {
	key := product{s.stock, s.price}
	open, left := c.open[key], -s.quantity
	for left > 0 && len(open) > 0 {
		newest := open[len(open)-1]
		units := min(left, newest.left)
		newest.left -= units
		newest.order.undone += units
		left -= units
		if newest.left == 0 {
			open = open[:len(open)-1]
		}
	}
	c.open[key] = open
	units := -s.quantity - left
	c.undone.units += units
	c.undone.worth += mils(units) * s.price
	if left == 0 {
		c.matched++
	} else {
		c.partly++
	}
}
