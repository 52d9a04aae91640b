package chaos

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
)

// link is one connection's own way to the server, which can be cut or poisoned
// without the others feeling it.
type link struct {
	f       *field
	address string
	proxy   *proxy         // nil without toxiproxy
	broker  brokers.Broker // nil in the parent of a member process
}

// link makes a way to the server: a proxy, where there is toxiproxy.
func (f *field) link(name string) *link {
	f.Helper()
	l := &link{f: f, address: f.target.Address}
	if f.target.Address == "" || f.toxiproxy == nil {
		return l
	}
	p, err := f.toxiproxy.proxy(f.Context(), f.topic+"-"+name, f.target.Address)
	f.ok(err)
	f.Cleanup(func() { f.noErr(p.remove(context.Background())) })
	l.proxy, l.address = p, p.address
	return l
}

// open connects; the connection is closed at the end of the test.
func (l *link) open() brokers.Broker {
	l.f.Helper()
	l.broker = l.f.open(l.address)
	return l.broker
}

// open connects by way of address.
func (f *field) open(address string) brokers.Broker {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), startTimeout)
	defer cancel()
	b, err := f.target.Open(ctx, address)
	f.ok(err)
	f.Cleanup(func() { f.noErr(b.Close()) })
	return b
}

// cut cuts the connection, and refuses new ones, until mend.
func (l *link) cut(ctx context.Context) (mend, error) {
	if l.proxy == nil {
		reconnect := l.f.target.Cut(l.broker)
		return func(context.Context) error { reconnect(); return nil }, nil
	}
	return func(ctx context.Context) error { return l.proxy.enable(ctx, true) }, l.proxy.enable(ctx, false)
}

// poison adds toxics, until mend.
func (l *link) poison(ctx context.Context, toxics []toxic) (mend, error) {
	for _, t := range toxics {
		if err := l.proxy.poison(ctx, t); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		for _, t := range toxics {
			if err := l.proxy.heal(ctx, t); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
