package sagatest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
)

// Opened is a store to be tested.
type Opened struct {
	Store sagas.Store
	// Source is its outbox.
	Source outbox.Source
}

// published returns the ids of what the store has handed to its outbox, in order.
func (o *Opened) published(t *testing.T) (ids []string) {
	t.Helper()
	rows, err := o.Source.Rows(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		ids = append(ids, rows[i].Message.ID)
	}
	return ids
}

// TestStore checks a store. open returns an empty one each time.
func TestStore(t *testing.T, open func(t *testing.T) Opened) {
	for name, test := range map[string]func(*testing.T, Opened){
		"commit": testCommit, "fence": testFence, "many": testMany, "list": testList, "claim": testClaim, "claim at once": testClaimAtOnce, "moved timer": testMovedTimer, "early": testEarly, "prune": testPrune, "versions": testVersions,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func unit(id string, revision uint64, messages ...string) sagas.Unit {
	u := sagas.Unit{
		Record: sagas.Record{
			Definition: "checkout", ID: id, Version: 2, Revision: revision, Status: sagas.Running, Digest: []byte("digest"),
			Instance: []byte(`{"a":1}`), Owner: "me", Changed: start,
		},
		Log: []sagas.Entry{{At: start, What: sagas.StepBegun, Step: fmt.Sprint("after ", revision)}},
	}
	for _, m := range messages {
		u.Messages = append(u.Messages, brokers.Message{Topic: "out", Key: []byte(id), ID: m, Payload: []byte("{}")})
	}
	return u
}

// sit begins anew as a runner.
func sit(t *testing.T, s sagas.Store, definition, name string) sagas.Seat {
	t.Helper()
	seat, err := s.Sit(t.Context(), definition, name)
	if err != nil || seat.Definition != definition || seat.Name != name || seat.Epoch == 0 {
		t.Fatalf("sit: %+v, %v", seat, err)
	}
	return seat
}

// commit returns the verdicts.
func commit(t *testing.T, s sagas.Store, units ...sagas.Unit) []error {
	t.Helper()
	verdicts, err := s.Commit(t.Context(), sit(t, s, "checkout", "committer"), units)
	if err != nil || len(verdicts) != len(units) {
		t.Fatalf("%d verdicts for %d units, %v", len(verdicts), len(units), err)
	}
	return verdicts
}

func wantVerdicts(t *testing.T, got []error, want ...error) {
	t.Helper()
	for i := range want {
		if !errors.Is(got[i], want[i]) || (got[i] == nil) != (want[i] == nil) {
			t.Errorf("verdict %d: %v, want %v", i, got[i], want[i])
		}
	}
}

// What is committed is there as a whole, and of a unit that is refused nothing is,
// while its neighbours are taken.
func testCommit(t *testing.T, o Opened) {
	s := o.Store
	if _, err := s.Load(t.Context(), "checkout", "a"); !errors.Is(err, sagas.ErrNotFound) {
		t.Fatalf("load: %v", err)
	}
	first := unit("a", 0, "m1")
	first.Handled = "r1"
	first.Record.Timer, first.Record.Deadline = sagas.Timer{Token: 7, At: start.Add(time.Minute)}, start.Add(time.Hour)
	other := unit("a", 0)
	other.Record.Definition = "returns"
	other.Handled = "r1" // another saga's inbox
	wantVerdicts(t, commit(t, s, first, unit("b", 0, "m2"), unit("c", 3, "lost"), other), nil, nil, sagas.ErrConflict, nil)
	repeat := unit("b", 1, "lost")
	repeat.Handled = "r1"
	wantVerdicts(t, commit(t, s, unit("a", 0, "lost"), repeat, unit("a", 1, "m3"), unit("a", 1, "lost")), sagas.ErrConflict, sagas.ErrRepeat, nil, sagas.ErrConflict)
	conflict := unit("b", 5)
	conflict.Handled = "r2"
	wantVerdicts(t, commit(t, s, conflict), sagas.ErrConflict)
	conflict.Record.Revision = 1
	wantVerdicts(t, commit(t, s, conflict), nil) // its message is not known from the refusal

	got, err := s.Load(t.Context(), "checkout", "a")
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision != 2 || got.Version != 2 || got.Status != sagas.Running || string(got.Digest) != "digest" || string(got.Instance) != `{"a":1}` ||
		got.Owner != "me" || !got.Changed.Equal(start) || !got.Due().IsZero() {
		t.Errorf("loaded %+v", got)
	}
	log, err := s.Timeline(t.Context(), "checkout", "a")
	if err != nil || len(log) != 2 || log[0].Step != "after 0" || log[1].Step != "after 1" || !log[0].At.Equal(start) {
		t.Errorf("timeline %+v, %v", log, err)
	}
	if _, err := s.Timeline(t.Context(), "checkout", "c"); !errors.Is(err, sagas.ErrNotFound) {
		t.Errorf("timeline of none: %v", err)
	}
	if ids := o.published(t); !slices.Equal(ids, []string{"m1", "m2", "m3"}) {
		t.Errorf("published %q", ids)
	}
}

// A runner that has begun under a name ends the one before, and no other.
func testFence(t *testing.T, o Opened) {
	s := o.Store
	old, other, returns := sit(t, s, "checkout", "me"), sit(t, s, "checkout", "you"), sit(t, s, "returns", "me")
	next := sit(t, s, "checkout", "me")
	if next.Epoch <= old.Epoch {
		t.Errorf("epoch %d after %d", next.Epoch, old.Epoch)
	}
	for i, c := range []struct {
		by   sagas.Seat
		want error
	}{{old, sagas.ErrFenced}, {sagas.Seat{Definition: "checkout", Name: "nobody"}, sagas.ErrFenced}, {next, nil}, {other, nil}, {returns, nil}} {
		verdicts, err := s.Commit(t.Context(), c.by, []sagas.Unit{unit(fmt.Sprint(i), 0, fmt.Sprint("m", i))})
		switch {
		case !errors.Is(err, c.want) || (err == nil) != (c.want == nil):
			t.Errorf("commit by %+v: %v, want %v", c.by, err, c.want)
		case err == nil:
			wantVerdicts(t, verdicts, nil)
		}
	}
	records, err := s.List(t.Context(), "checkout", sagas.Selection{})
	if err != nil || len(records) != 3 {
		t.Errorf("%d are stored, %v", len(records), err)
	}
	if ids := o.published(t); !slices.Equal(ids, []string{"m2", "m3", "m4"}) {
		t.Errorf("published %q", ids)
	}
}

// Of many who start or change one instance at the same time, one does.
func testMany(t *testing.T, o Opened) {
	seat := sit(t, o.Store, "checkout", "me")
	for revision := range uint64(3) {
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for range 8 {
			all.Go(func() {
				verdicts, err := o.Store.Commit(t.Context(), seat, []sagas.Unit{unit("a", revision, fmt.Sprint("m", revision))})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case verdicts[0] == nil:
					taken++
				case !errors.Is(verdicts[0], sagas.ErrConflict):
					t.Error(verdicts[0])
				}
			})
		}
		all.Wait()
		if taken != 1 {
			t.Errorf("%d of 8 were taken at revision %d", taken, revision)
		}
	}
	if ids := o.published(t); !slices.Equal(ids, []string{"m0", "m1", "m2"}) {
		t.Errorf("published %q", ids)
	}
}

func testList(t *testing.T, o Opened) {
	s := o.Store
	stuck, ended, old, theirs := unit("b", 0), unit("c", 0), unit("d", 0), unit("e", 0)
	stuck.Record.Status, stuck.Record.Owner = sagas.Stuck, ""
	ended.Record.Status = sagas.Completed
	old.Record.Version = 1
	theirs.Record.Definition = "returns"
	wantVerdicts(t, commit(t, s, unit("a", 0), stuck, ended, old, theirs), nil, nil, nil, nil, nil)
	for want, q := range map[string]sagas.Selection{
		"[a b c d]": {}, "[d]": {Versions: []int{1}}, "[a b]": {Statuses: []sagas.Status{sagas.Running, sagas.Stuck}, Versions: []int{2, 3}}, "[b]": {Statuses: []sagas.Status{sagas.Stuck}}, "[b c]": {After: "a", Limit: 2},
		"[a d]": {Statuses: []sagas.Status{sagas.Running, sagas.Compensating}, Owner: "me"},
	} {
		records, err := s.List(t.Context(), "checkout", q)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i := range records {
			ids = append(ids, records[i].ID)
		}
		if fmt.Sprint(ids) != want {
			t.Errorf("%+v: %v, want %v", q, ids, want)
		}
	}
	counts, err := s.InFlight(t.Context(), "checkout")
	if err != nil || fmt.Sprint(counts) != "map[1:1 2:2]" {
		t.Errorf("in flight %v, %v", counts, err)
	}
}

// Timers are claimed once per lease, the longest due first, and those that were
// claimed do not keep others waiting.
func testClaim(t *testing.T, o Opened) {
	s := o.Store
	for i, id := range []string{"d", "c", "b", "a"} {
		u := unit(id, 0)
		u.Record.Timer = sagas.Timer{Token: uint64(i + 1), At: start.Add(time.Duration(i) * time.Second)}
		if id == "b" {
			u.Record.Timer, u.Record.Deadline = sagas.Timer{}, u.Record.Timer.At
		}
		wantVerdicts(t, commit(t, s, u, unit("none"+id, 0)), nil, nil)
	}
	claim := func(after time.Duration, n int, want string, wantNext time.Duration) {
		t.Helper()
		due, next, err := s.Claim(t.Context(), "checkout", start.Add(after), 10*time.Second, n)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i := range due {
			got += fmt.Sprintf("%s%d ", due[i].ID, due[i].Timer.Token)
		}
		if got != want || !next.Equal(start.Add(wantNext)) {
			t.Errorf("claimed %q, next %v; want %q, %v", got, next.Sub(start), want, wantNext)
		}
	}
	claim(-time.Second, 9, "", 0)
	claim(2*time.Second, 2, "d1 c2 ", 2*time.Second)
	claim(2*time.Second, 2, "b0 ", 3*time.Second)
	claim(2*time.Second, 2, "", 3*time.Second)
	moved := unit("c", 1)
	moved.Record.Timer = sagas.Timer{Token: 9, At: start.Add(2 * time.Second)}
	ended := unit("b", 1)
	wantVerdicts(t, commit(t, s, moved, ended), nil, nil) // which ends their claims
	claim(3*time.Second, 9, "c9 a4 ", 12*time.Second)
	claim(12*time.Second, 9, "d1 ", 13*time.Second)
}

// Of many who claim at the same time, one gets each timer, and all are got.
func testClaimAtOnce(t *testing.T, o Opened) {
	const timers, claimers = 100, 4
	var units []sagas.Unit
	for i := range timers {
		u := unit(fmt.Sprintf("%03d", i), 0)
		u.Record.Timer = sagas.Timer{Token: 1, At: start.Add(time.Duration(i) * time.Millisecond)}
		units = append(units, u)
	}
	wantVerdicts(t, commit(t, o.Store, units...), make([]error, timers)...)
	var all sync.WaitGroup
	var mu sync.Mutex
	got := make(map[string]int)
	for range claimers {
		all.Go(func() {
			for {
				due, next, err := o.Store.Claim(t.Context(), "checkout", start.Add(time.Hour), time.Hour, 7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i := range due {
					got[due[i].ID]++
				}
				through := len(got) == timers
				mu.Unlock()
				if through || len(due) == 0 && next.After(start.Add(time.Hour)) {
					return
				}
			}
		})
	}
	all.Wait()
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
	if len(got) != timers {
		t.Errorf("%d of %d were claimed", len(got), timers)
	}
}

// A timer that was moved to later, or is gone, is not claimed at its former time.
func testMovedTimer(t *testing.T, o Opened) {
	first, gone := unit("a", 0), unit("b", 0)
	first.Record.Timer, gone.Record.Timer = sagas.Timer{Token: 1, At: start}, sagas.Timer{Token: 1, At: start}
	later := unit("a", 1)
	later.Record.Timer = sagas.Timer{Token: 2, At: start.Add(time.Hour)}
	sooner := unit("a", 2)
	sooner.Record.Timer = sagas.Timer{Token: 3, At: start.Add(time.Minute)}
	claim := func(after time.Duration, want string, wantNext time.Time) {
		t.Helper()
		due, next, err := o.Store.Claim(t.Context(), "checkout", start.Add(after), time.Second, 9)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i := range due {
			got += fmt.Sprint(due[i].ID, due[i].Timer.Token)
		}
		if got != want || !next.Equal(wantNext) {
			t.Errorf("claimed %q, next %v; want %q, %v", got, next, want, wantNext)
		}
	}
	wantVerdicts(t, commit(t, o.Store, first, gone, later, unit("b", 1)), nil, nil, nil, nil)
	claim(time.Second, "", start.Add(time.Hour))
	wantVerdicts(t, commit(t, o.Store, sooner), nil)
	claim(2*time.Second, "", start.Add(time.Minute))
	claim(time.Minute, "a3", start.Add(time.Minute+time.Second))
	wantVerdicts(t, commit(t, o.Store, unit("a", 3)), nil)
	claim(2*time.Hour, "", time.Time{})
}

func testEarly(t *testing.T, o Opened) {
	s := o.Store
	early := func(id, message string, at time.Duration) sagas.Early {
		return sagas.Early{Definition: "checkout", ID: id, At: start.Add(at), Message: brokers.Message{
			Topic: "replies", Key: []byte(id), ID: message, CorrelationID: "c/" + id, Headers: brokers.Headers{{Key: "h", Value: []byte("v")}},
		}}
	}
	for _, e := range []sagas.Early{early("a", "r1", 0), early("b", "r2", time.Second), early("a", "r1", time.Second)} {
		if err := s.Keep(t.Context(), e, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(t.Context(), early("c", "r3", 0), 2); !errors.Is(err, sagas.ErrFull) {
		t.Errorf("keep a third of two: %v", err)
	}
	kept := func(before time.Duration, want string) []sagas.Early {
		t.Helper()
		found, err := s.Kept(t.Context(), "checkout", start.Add(before), 9)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range found {
			got += fmt.Sprintf("%s %s %v;", e.ID, e.Message.ID, e.Found)
			if e.Message.CorrelationID != "c/"+e.ID || e.Message.Headers.Text("h") != "v" {
				t.Errorf("kept %+v", e)
			}
		}
		if got != want {
			t.Errorf("kept %q, want %q", got, want)
		}
		return found
	}
	kept(0, "")
	wantVerdicts(t, commit(t, s, unit("b", 0)), nil)
	kept(0, "b r2 true;")
	old := kept(time.Millisecond, "a r1 false;b r2 true;")[0]
	if err := s.Discard(t.Context(), old, brokers.Message{Topic: "dead", ID: "letter", Payload: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	applied := unit("b", 1)
	applied.Handled = "r2"
	wantVerdicts(t, commit(t, s, applied), nil)
	if err := s.Keep(t.Context(), early("b", "r2", 0), 2); err != nil { // a repeat of what was handled
		t.Fatal(err)
	}
	kept(time.Hour, "")
	if ids := o.published(t); !slices.Equal(ids, []string{"letter"}) {
		t.Errorf("published %q", ids)
	}
}

func testPrune(t *testing.T, o Opened) {
	s := o.Store
	ended, late := unit("b", 0), unit("c", 0)
	ended.Handled = "r1"
	ended.Record.Status, late.Record.Status = sagas.Compensated, sagas.Completed
	late.Record.Changed = start.Add(time.Hour)
	late.Handled = "r2"
	wantVerdicts(t, commit(t, s, unit("a", 0), ended, late), nil, nil, nil)
	if n, err := s.Prune(t.Context(), "checkout", start.Add(time.Minute)); err != nil || n != 1 {
		t.Errorf("%d forgotten, %v", n, err)
	}
	records, err := s.List(t.Context(), "checkout", sagas.Selection{})
	if err != nil || len(records) != 2 || records[0].ID != "a" || records[1].ID != "c" {
		t.Errorf("%d are left, %v", len(records), err)
	}
	if _, err := s.Timeline(t.Context(), "checkout", "b"); !errors.Is(err, sagas.ErrNotFound) {
		t.Errorf("timeline of a forgotten one: %v", err)
	}
	again, known := unit("b", 0), unit("a", 1)
	again.Handled, known.Handled = "r1", "r2"
	wantVerdicts(t, commit(t, s, again, known), nil, sagas.ErrRepeat)
}
