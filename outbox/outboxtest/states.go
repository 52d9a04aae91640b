package outboxtest

import (
	"errors"
	"slices"
	"testing"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
)

// What a store of durable actors promises.
func testStates(t *testing.T, open Open) {
	s, ctx := open(t)[0], t.Context()
	scope := durable.Scope{Group: "g", Topic: "t", Partition: 3}
	old, err := s.States.Acquire(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.States.Acquire(ctx, scope)
	if err != nil || token <= old {
		t.Fatalf("token %d after %d, %v", token, old, err)
	}
	unit := durable.Unit{Scope: scope, Token: token, Key: "k\xff", Version: 2, State: []byte("one"), Handled: []string{"1", "2"}, Messages: []brokers.Message{message("k", "out")}}
	if err := s.States.Commit(ctx, []durable.Unit{unit}); err != nil {
		t.Fatal(err)
	}
	record, err := s.States.Load(ctx, scope, "k\xff")
	if err != nil || record.Revision != 1 || record.Version != 2 || string(record.State) != "one" {
		t.Errorf("loaded %+v, %v", record, err)
	}
	next := func(change func(*durable.Unit)) error {
		u := durable.Unit{Scope: scope, Token: token, Key: "k\xff", Revision: 1, Version: 2, State: []byte("two"), Handled: []string{"3"}}
		change(&u)
		return s.States.Commit(ctx, []durable.Unit{u})
	}
	var fenced *durable.FencedError
	if err := next(func(u *durable.Unit) { u.Token = old }); !errors.As(err, &fenced) || fenced.Scope != scope {
		t.Errorf("an old token: %v", err)
	}
	var repeated *durable.DuplicateError
	if err := next(func(u *durable.Unit) { u.Handled = []string{"3", "2"} }); !errors.As(err, &repeated) || !slices.Equal(repeated.IDs, []string{"2"}) {
		t.Errorf("a repeat: %v", err)
	}
	for _, revision := range []uint64{0, 2} {
		if err := next(func(u *durable.Unit) { u.Revision = revision }); !errors.Is(err, durable.ErrConflict) {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
	if err := next(func(*durable.Unit) {}); err != nil {
		t.Fatal(err)
	}
	record, err = s.States.Load(ctx, scope, "k\xff")
	if err != nil || record.Revision != 2 || string(record.State) != "two" {
		t.Errorf("loaded %+v, %v", record, err)
	}
	if rows, err := s.Source.Rows(ctx, 10); err != nil || len(rows) != 1 || rows[0].Message.ID != "out" {
		t.Errorf("outbox %+v, %v", rows, err)
	}
	if err := s.States.Commit(ctx, nil); err != nil {
		t.Error(err)
	}
	if record, err := s.States.Load(ctx, scope, "other"); err != nil || record.Revision != 0 {
		t.Errorf("loaded %+v, %v", record, err)
	}
}

// Units of a transaction are stored all or none, those of one key in order.
func testGroup(t *testing.T, open Open) {
	s, ctx := open(t)[0], t.Context()
	unit := func(partition int32, key string, revision uint64, state string, handled ...string) durable.Unit {
		return durable.Unit{
			Scope: durable.Scope{Group: "g", Topic: "t", Partition: partition}, Token: 1, Key: key, Revision: revision, Version: 1,
			State: []byte(state), Handled: handled,
		}
	}
	for partition := range int32(2) {
		if _, err := s.States.Acquire(ctx, unit(partition, "", 0, "").Scope); err != nil {
			t.Fatal(err)
		}
	}
	err := s.States.Commit(ctx, []durable.Unit{
		unit(0, "a", 0, "first", "1", "2"), unit(1, "b", 0, "b", "3"), unit(0, "a", 1, "second", "4"), unit(1, "c", 0, "", "5"), unit(0, "a", 2, "third"),
	})
	if err != nil {
		t.Fatal(err)
	}
	is := func(key string, revision uint64, state string) {
		t.Helper()
		if r, err := s.States.Load(ctx, unit(0, "", 0, "").Scope, key); err != nil || r.Revision != revision || string(r.State) != state {
			t.Errorf("%s is %+v, %v; want revision %d of %q", key, r, err, revision, state)
		}
	}
	is("a", 3, "third")
	is("b", 1, "b")
	is("c", 1, "")
	good := []durable.Unit{unit(0, "a", 3, "no", "6"), unit(1, "d", 0, "no", "7")}
	if err := s.States.Commit(ctx, append(good, unit(1, "b", 4, "no", "8"))); !errors.Is(err, durable.ErrConflict) {
		t.Errorf("one of another revision: %v", err)
	}
	var repeated *durable.DuplicateError
	if err := s.States.Commit(ctx, append(good, unit(1, "b", 1, "no", "5", "1", "9"))); !errors.As(err, &repeated) || !slices.Equal(repeated.IDs, []string{"1", "5"}) {
		t.Errorf("one with repeats: %v", err)
	}
	var fenced *durable.FencedError
	other := unit(2, "e", 0, "no", "10")
	if err := s.States.Commit(ctx, append(good, other)); !errors.As(err, &fenced) || fenced.Scope != other.Scope {
		t.Errorf("one of a scope that nobody has acquired: %v", err)
	}
	is("a", 3, "third")
	is("d", 0, "")
	if err := s.States.Commit(ctx, good); err != nil {
		t.Errorf("after these, without the others: %v", err)
	}
}

// A handler's own writes are stored with the state, or not at all.
func testCommitTx(t *testing.T, open Open) {
	s, ctx := open(t)[0], t.Context()
	scope := durable.Scope{Group: "g", Topic: "t", Partition: 3}
	old, err := s.States.Acquire(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.States.Acquire(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InTx(ctx, func(tx Tx) error { return tx.Exec(ctx, `CREATE TABLE entries (n INTEGER)`) }); err != nil {
		t.Fatal(err)
	}
	errNo := errors.New("no")
	called := 0
	commit := func(token, revision uint64, id string, failure error) error {
		u := durable.Unit{Scope: scope, Token: token, Key: "k", Revision: revision, Version: 1, Handled: []string{id}}
		return s.States.CommitTx(ctx, u, func(tx any, u *durable.Unit) error {
			called++
			u.State, u.Messages = []byte("state "+id), []brokers.Message{message("k", "of "+id)}
			return errors.Join(s.Wrap(tx).Exec(ctx, `INSERT INTO entries VALUES (1)`), failure)
		})
	}
	if err := commit(token, 0, "1", errNo); !errors.Is(err, errNo) {
		t.Errorf("the handler's error: %v", err)
	}
	if err := commit(token, 0, "1", nil); err != nil {
		t.Fatal(err)
	}
	var repeated *durable.DuplicateError
	if err := commit(token, 1, "1", nil); !errors.As(err, &repeated) || !slices.Equal(repeated.IDs, []string{"1"}) {
		t.Errorf("a repeat: %v", err)
	}
	var fenced *durable.FencedError
	if err := commit(old, 1, "2", nil); !errors.As(err, &fenced) || fenced.Scope != scope {
		t.Errorf("an old token: %v", err)
	}
	if called != 2 {
		t.Errorf("the handler was called %d times, want 2: neither for a repeat nor for another's partition", called)
	}
	if err := commit(token, 7, "2", nil); !errors.Is(err, durable.ErrConflict) {
		t.Errorf("another revision: %v", err)
	}
	record, err := s.States.Load(ctx, scope, "k")
	if err != nil || record.Revision != 1 || string(record.State) != "state 1" {
		t.Errorf("loaded %+v, %v", record, err)
	}
	if n, err := s.Int(ctx, `SELECT count(*) FROM entries`); err != nil || n != 1 {
		t.Errorf("%d entries, %v; want 1", n, err)
	}
	if rows, err := s.Source.Rows(ctx, 10); err != nil || len(rows) != 1 || rows[0].Message.ID != "of 1" {
		t.Errorf("outbox %+v, %v", rows, err)
	}
}
