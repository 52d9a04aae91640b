package actors_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// journal is a table of the user's, and journalTx what a transaction adds to it.
type journal struct {
	durable.Memory

	lines []string
	lose  int // how many answers to commits are lost
	down  atomic.Bool
}

type journalTx struct{ lines []string }

func (j *journal) CommitTx(ctx context.Context, u durable.Unit, f func(any, *durable.Unit) error) error {
	if j.down.Load() {
		return errors.New("connection refused")
	}
	tx := &journalTx{}
	if err := f(tx, &u); err != nil {
		return err
	}
	if err := j.Commit(ctx, []durable.Unit{u}); err != nil {
		return err
	}
	j.lines = append(j.lines, tx.lines...)
	if j.lose > 0 {
		j.lose--
		return errors.New("connection reset")
	}
	return nil
}

func (j *journal) Commit(ctx context.Context, units []durable.Unit) error {
	if j.down.Load() {
		return errors.New("connection refused")
	}
	return j.Memory.Commit(ctx, units)
}

func (*journal) TxType() reflect.Type { return reflect.TypeFor[*journalTx]() }

func (p *purse) book(ctx *actors.Context, tx *journalTx, amount int) error {
	tx.lines = append(tx.lines, ctx.Event().ID)
	return p.add(ctx, amount)
}

func (w *world) journals(j *journal) *actors.Blueprint[purse] {
	b := w.purses(actors.Durability{Store: j})
	actors.OnWithTx(b, "book", (*purse).book)
	return b
}

// booked are amounts whose handlers have a transaction to themselves where book says
// so.
func booked(key string, book string, values ...int) []brokers.Message {
	messages := amounts(key, 1, values...)
	for i := range messages {
		if book[i] == 'b' {
			messages[i].Headers[0].Value = []byte("book")
		}
	}
	return messages
}

// What such a handler writes is there once, with the state, whatever fails.
func TestWithTx(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		j := &journal{}
		w.send(booked("k", "abbabba", 1, 2, 13, 4, 5, 666, 7)...)
		w.start(actors.Subscription{
			Actor:  w.journals(j),
			Policy: supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Second), DeadLetter: "dead"},
		})
		w.pass(time.Minute)
		w.expect("k+1=1", "k+2=3", "k+13=16", "k+13=16", "k+4=20", "k+5=25", "k+666=691", "k+666=691", "k+7=32")
		if want := []string{"k/2", "k/3", "k/5"}; !slices.Equal(j.lines, want) {
			t.Errorf("the journal has %q, want %q", j.lines, want)
		}
		if got := sums(t, &j.Memory, "k")["k"]; got != 32 {
			t.Errorf("the sum is %d, want 32", got)
		}
		if got := published(&j.Memory); len(got) != 6 || got[1] != "k/2>g0#0=3" {
			t.Errorf("published %q", got)
		}
		if got := len(seen[actors.Handled](w)); got != 6 {
			t.Errorf("%d messages were told of as handled, want 6", got)
		}
		if got := w.position("g0"); got != 7 {
			t.Errorf("position %d, want 7", got)
		}
	})
}

// A transaction whose answer is lost was committed: its message is passed over when
// it comes again.
func TestWithTxUnknownOutcome(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		j := &journal{lose: 1}
		w.send(booked("k", "bb", 1, 2)...)
		w.start(actors.Subscription{Actor: w.journals(j), Policy: supervision.Policy{Backoff: supervision.Constant(time.Second)}})
		w.pass(time.Minute)
		if want := []string{"k/1", "k/2"}; !slices.Equal(j.lines, want) {
			t.Errorf("the journal has %q, want %q", j.lines, want)
		}
		if got := sums(t, &j.Memory, "k")["k"]; got != 3 {
			t.Errorf("the sum is %d, want 3", got)
		}
		if got := w.position("g0"); got != 2 {
			t.Errorf("position %d, want 2", got)
		}
	})
}

// A store that is down burns no attempts, and another owner's token gives the
// partition up.
func TestWithTxStoreDownAndFenced(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		j := &journal{}
		j.down.Store(true)
		w.send(booked("k", "b", 1)...)
		w.send(booked("j", "b", 1)...)
		w.start(actors.Subscription{Actor: w.journals(j), Policy: supervision.Policy{MaxAttempts: 1, DeadLetter: "dead"}})
		w.pass(10 * time.Minute)
		if len(seen[actors.Suspended](w)) == 0 || len(seen[actors.DeadLettered](w)) > 0 {
			t.Fatalf("suspended %v, dead letters %v", seen[actors.Suspended](w), seen[actors.DeadLettered](w))
		}
		j.down.Store(false)
		w.pass(10 * time.Minute)
		_, err := j.Acquire(t.Context(), durable.Scope{Group: "g0", Topic: "in"})
		w.must(err)
		w.send(booked("k", "bb", 1, 2)[1:]...)
		w.pass(10 * time.Minute)
		if want := map[string]int{"k": 3, "j": 1}; !maps.Equal(sums(t, &j.Memory, "k", "j"), want) {
			t.Errorf("sums %v, want %v", sums(t, &j.Memory, "k", "j"), want)
		}
		if len(j.lines) != 3 {
			t.Errorf("the journal has %q", j.lines)
		}
	})
}

// Stores and actors that cannot do it are refused by name.
func TestWithTxRefusals(t *testing.T) {
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	book := func(b *actors.Blueprint[purse]) actors.Actor {
		actors.OnWithTx(b, "book", (*purse).book)
		return b
	}
	fresh := func(string) *purse { return &purse{} }
	other := actors.Durable(fresh, actors.Durability{Store: &journal{}})
	actors.OnWithTx(other, "book", func(*purse, *actors.Context, string, int) error { return nil })
	for want, actor := range map[string]actors.Actor{
		"is not durable":                     book(actors.PerKey(fresh)),
		"*durable.Memory runs no handlers":   book(actors.Durable(fresh, actors.Durability{Store: &durable.Memory{}})),
		"takes a string, and transactions o": other,
	} {
		_, err := actors.NewSystem(actors.Config{}, actors.Subscription{Group: "g", Broker: broker, Topics: []string{"in"}, Actor: actor})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"book"`) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
