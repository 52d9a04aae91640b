package main

import (
	"hash"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/supervision"
)

const (
	ledgerGroup = "ledger"
	ledgerDead  = "ledger.dead"
)

// ledger is the actor of a customer in the group of that name: it books what
// each line is worth. The lines without a customer are a key like others.
type ledger struct{ account *account }

func newLedger(accounts *book[account]) actors.Actor {
	actor := actors.PerKey(func(customer string) *ledger { return &ledger{accounts.of(customer)} })
	actors.On(actor, lineType, (*ledger).line)
	return actor
}

// ledgerPolicy keeps lines that cannot be read for somebody to look at. Other
// errors are tried again, five times in all.
func ledgerPolicy(prefix string) supervision.Policy {
	return supervision.Policy{
		Backoff:    supervision.Exponential(time.Millisecond, time.Second),
		DeadLetter: prefix + ledgerDead,
		Rules: []supervision.Rule{
			supervision.On(errBadLine).DeadLetter(),
			supervision.On(errOtherRun).Discard(),
		},
	}
}

func (l *ledger) line(_ *actors.Context, in line) error {
	s, err := in.parse()
	if err != nil {
		return err
	}
	l.account.book(s)
	return nil
}

// account is what a customer's lines add up to.
type account struct {
	mu      sync.Mutex
	last    int // the last row booked
	revenue mils
	months  map[string]mils
	digest  hash.Hash64 // of the lines, in order
	text    []byte      // to be hashed
}

func newAccount(string) *account {
	return &account{months: make(map[string]mils), digest: fnv.New64a()}
}

func (a *account) book(s sale) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.row <= a.last {
		return // it came again
	}
	worth := mils(s.quantity) * s.price
	a.revenue += worth
	a.months[s.month] += worth
	a.text = append(append(a.text[:0], s.invoice...), ',')
	a.text = append(append(a.text, s.stock...), ',')
	a.text = append(strconv.AppendInt(a.text, int64(s.quantity), 10), '\n')
	a.digest.Write(a.text)
	a.last = s.row
}
