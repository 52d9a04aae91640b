package main

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/supervision"
)

const (
	ordersTopic = "orders" // an event for each order
	orderType   = "order"
)

// orderPlaced is the event of an order: its first line has come.
type orderPlaced struct {
	Invoice  string `json:"invoice"`
	Customer string `json:"customer"`
}

// storedAccount is the durable actor of a customer in the ledger: its state, and
// what it does with a line. Every line is in the state, also one that is a dead
// letter: so the count of rows says how far the group is, whatever was killed.
type storedAccount struct {
	Rows    int      `json:"rows"`
	Account *account `json:"account"`

	prefix string
}

func newStoredAccount(customer string) *storedAccount {
	return &storedAccount{Account: newAccount(customer)}
}

func (a *storedAccount) line(ctx *actors.Context, in line) error {
	a.Rows++
	s, err := in.parse()
	if err != nil {
		return publishLetter(ctx, err, a.prefix+ledgerDead)
	}
	a.Account.book(s)
	return nil
}

// storedCustomer is that of a customer in the group of returns.
type storedCustomer struct {
	Rows     int       `json:"rows"`
	Unfound  int       `json:"unfound"` // cancellations that found nothing to undo
	Customer *customer `json:"customer"`

	prefix string
}

func newStoredCustomer(id string) *storedCustomer {
	return &storedCustomer{Customer: newCustomer(id)}
}

func (c *storedCustomer) line(ctx *actors.Context, in line) error {
	c.Rows++
	s, err := in.parse()
	if errors.Is(err, errBadLine) { // the ledger's
		return nil
	}
	known := c.Customer.orders[s.invoice] != nil
	err = c.Customer.take(s)
	switch {
	case errors.Is(err, errUnmatched):
		c.Unfound++
		return publishLetter(ctx, err, c.prefix+returnsDead)
	case err != nil && !errors.Is(err, errNoSale):
		return err
	}
	if !known && c.Customer.orders[s.invoice] != nil {
		return ctx.Publish(c.prefix+ordersTopic, orderPlaced{s.invoice, s.customer})
	}
	return nil
}

// publishLetter publishes the message being handled as a dead letter, in the
// transaction of the state that counts it.
func publishLetter(ctx *actors.Context, why error, topic string) error {
	now := time.Now()
	failure := supervision.Failure{Err: why, Message: ctx.Event(), Attempt: ctx.Attempt(), FirstAt: now, At: now}
	letter := supervision.NewLetter(failure, supervision.Verdict{Kind: supervision.DeadLetter, Reason: "by the handler"})
	return ctx.Publish(topic, supervision.Encode(ctx.Event(), letter, topic))
}

// system is the job's with durable actors.
func (v *vault) system(j *job, logger *zap.Logger) (*actors.System, error) {
	through := []actors.Middleware{j.progress.oursOnly}
	if j.options.faults > 0 {
		through = append(through, flaky(j.options.faults, j.options.seed))
	}
	kept := actors.Durability{Store: v}
	accounts := actors.Durable(func(customer string) *storedAccount {
		a := newStoredAccount(customer)
		a.prefix = v.prefix
		return a
	}, kept)
	actors.On(accounts, lineType, (*storedAccount).line)
	customers := actors.Durable(func(id string) *storedCustomer {
		c := newStoredCustomer(id)
		c.prefix = v.prefix
		return c
	}, kept)
	actors.On(customers, lineType, (*storedCustomer).line)

	subscription := func(group string, actor actors.Actor, policy supervision.Policy) actors.Subscription {
		policy.MaxDeliveries = -1 // that a process was killed is no fault of a message
		return actors.Subscription{
			Group: v.prefix + group, Broker: j.broker, Topics: []string{v.prefix + linesTopic}, Middleware: through, Actor: actor, Policy: policy,
		}
	}
	return actors.NewSystem(
		actors.Config{Logger: logger},
		subscription(ledgerGroup, accounts, ledgerPolicy(v.prefix)),
		subscription(returnsGroup, customers, returnsPolicy(v.prefix)),
	)
}
