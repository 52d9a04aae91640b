package main

import "sync"

// book keeps an entry for each customer, outside of the actors: what an actor
// holds is a cache, which ends when it is passivated and when its partition goes
// to another owner, and the totals must not. This program is one process, and
// its memory is durable enough. A service keeps such state in a database, in the
// transaction that remembers which message it has handled: durable actors do that
// for it, and for this program with -store.
//
// At least once means that a row may come again. The rows of a customer come in
// order, so an entry that remembers the last row that changed it knows a row
// that it has had. Entries lock themselves, as an actor may still be at work
// when its successor begins.
type book[E any] struct {
	open    func(customer string) *E
	mu      sync.Mutex
	entries map[string]*E
}

func newBook[E any](open func(customer string) *E) *book[E] {
	return &book[E]{open: open, entries: make(map[string]*E)}
}

// of is the customer's entry.
func (b *book[E]) of(customer string) *E {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[customer]
	if e == nil {
		e = b.open(customer)
		b.entries[customer] = e
	}
	return e
}

// each calls f with every entry, in no order.
func (b *book[E]) each(f func(customer string, e *E)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for customer, e := range b.entries {
		f(customer, e)
	}
}
