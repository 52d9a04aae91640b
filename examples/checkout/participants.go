package main

import (
	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
)

// The commands.
type (
	reserve struct{ Lines []line }
	charge  struct {
		Customer string
		Amount   mils
	}
	release struct{}
	refund  struct{}
	pack    struct{}
	unpack  struct{}
	ship    struct{}
)

// What the desk tells.
type (
	returned struct{ Lines []line }
	cancel   struct{ By string }
	dispatch struct{}
)

// answer replies to a command, in the transaction of what it did.
func answer(ctx *actors.Context, to *brokers.Message, result sagas.Result, reason string) error {
	reply, err := sagas.Answer(to, result, reason, nil)
	if err != nil {
		return err
	}
	return ctx.Publish(reply.Topic, reply)
}

func accept(ctx *actors.Context) error { return answer(ctx, ctx.Event(), sagas.Accepted, "") }

// stock is what has gone for an order, or for an invoice that is none. A command may
// come again, under another id but the same key, and is then only answered.
type stock struct {
	Gone               map[string]int // units, by product; negative if more came
	Reserved, Released bool
	Returns            int
}

func (s *shop) stock() actors.Actor {
	b := actors.Durable(func(string) *stock { return &stock{Gone: make(map[string]int)} }, s.durability())
	actors.On(b, "reserve", (*stock).reserve)
	actors.On(b, "release", (*stock).release)
	actors.On(b, "returned", (*stock).returned)
	return b
}

func (s *stock) reserve(ctx *actors.Context, r reserve) error {
	if !s.Reserved {
		s.Reserved = true
		for _, l := range r.Lines {
			s.Gone[l.Stock] += l.Units
		}
	}
	return accept(ctx)
}

func (s *stock) release(ctx *actors.Context, _ release) error {
	s.Released = true
	for product := range s.Gone { // all that has not come back already
		s.Gone[product] = 0
	}
	return accept(ctx)
}

func (s *stock) returned(_ *actors.Context, r returned) error {
	s.Returns++
	for _, l := range r.Lines {
		s.Gone[l.Stock] -= l.Units
	}
	return nil
}

// payment is what was paid for an order, and paid back.
type payment struct {
	Charged, Refunded mils
	Returns           int
}

func (s *shop) payments() actors.Actor {
	b := actors.Durable(func(string) *payment { return &payment{} }, s.durability())
	actors.On(b, "charge", (*payment).charge)
	actors.On(b, "refund", (*payment).refund)
	actors.On(b, "returned", (*payment).returned)
	return b
}

func (p *payment) charge(ctx *actors.Context, c charge) error {
	p.Charged = c.Amount
	return accept(ctx)
}

func (p *payment) refund(ctx *actors.Context, _ refund) error {
	p.Refunded = p.Charged
	return accept(ctx)
}

func (p *payment) returned(_ *actors.Context, r returned) error {
	p.Returns++
	for _, l := range r.Lines {
		p.Refunded += mils(l.Units) * l.Price
	}
	return nil
}

// parcel is an order in the warehouse, which answers that it is packed only when it
// is to go: until then it may be cancelled.
type parcel struct {
	Asked     *brokers.Message // to pack it, not answered yet
	Cancelled string           // by that invoice
	Due       bool
	Shipped   bool
}

func (s *shop) warehouse() actors.Actor {
	b := actors.Durable(func(string) *parcel { return &parcel{} }, s.durability())
	actors.On(b, "pack", (*parcel).pack)
	actors.On(b, "unpack", (*parcel).unpack)
	actors.On(b, "ship", (*parcel).ship)
	actors.On(b, "cancel", (*parcel).cancel)
	actors.On(b, "dispatch", (*parcel).dispatch)
	return b
}

func (p *parcel) pack(ctx *actors.Context, _ pack) error {
	asked := *ctx.Event()
	p.Asked = &brokers.Message{ID: asked.ID, CorrelationID: asked.CorrelationID, ReplyTo: asked.ReplyTo}
	return p.settle(ctx)
}

func (p *parcel) cancel(ctx *actors.Context, c cancel) error {
	p.Cancelled = c.By
	return p.settle(ctx)
}

func (p *parcel) dispatch(ctx *actors.Context, _ dispatch) error {
	p.Due = true
	return p.settle(ctx)
}

// settle answers once it is known what is to become of the order.
func (p *parcel) settle(ctx *actors.Context) error {
	asked := p.Asked
	switch {
	case asked == nil:
		return nil
	case p.Cancelled != "":
		p.Asked = nil
		return answer(ctx, asked, sagas.Rejected, "cancelled by "+p.Cancelled)
	case p.Due:
		p.Asked = nil
		return answer(ctx, asked, sagas.Accepted, "")
	}
	return nil
}

func (p *parcel) unpack(ctx *actors.Context, _ unpack) error { return accept(ctx) }

func (p *parcel) ship(ctx *actors.Context, _ ship) error {
	p.Shipped = true
	return accept(ctx)
}
