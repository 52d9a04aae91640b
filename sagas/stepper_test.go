package sagas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/supervision"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// run is an instance and what its transitions asked for.
type run struct {
	t   *testing.T
	def *Definition[order]
	in  Instance[order]
	now time.Time

	asked []string // what was sent or called: step verb attempt
	timer Timer
	log   []Entry
}

func begin(t *testing.T, def *Definition[order]) *run {
	t.Helper()
	if err := def.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, def: def, now: noon}
	r.apply(def.Begin("7", order{}, noon))
	return r
}

func (r *run) apply(tr Transition[order]) {
	r.in = tr.Instance
	for _, c := range tr.Commands {
		_, _, step, verb, _ := ParseKey(c.IdempotencyKey)
		r.asked = append(r.asked, fmt.Sprintf("%s %v %d", step, verb, c.Attempt))
	}
	for _, c := range tr.Calls {
		r.asked = append(r.asked, fmt.Sprintf("%s %v called", r.def.Steps[c.Step].Name, c.Verb))
	}
	for _, timer := range tr.Timers {
		if timer.Token != 0 {
			r.timer = timer
		}
	}
	r.log = append(r.log, tr.Log...)
}

func (r *run) tell(e Event) error {
	r.t.Helper()
	tr, err := r.def.Advance(r.in, e, r.now)
	if err == nil {
		r.apply(tr)
	}
	return err
}

func (r *run) reply(step string, v Verb, result Result, reason string) {
	r.t.Helper()
	if err := r.tell(Replied[order]{Reply: Reply{Key: r.in.key(step, v), Result: result, Reason: reason}}); err != nil {
		r.t.Fatal(err)
	}
}

// wait lets the instance's timer fire.
func (r *run) wait() {
	r.t.Helper()
	r.now = r.timer.At
	if err := r.tell(TimerFired{r.timer}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) expect(status Status, asked ...string) {
	r.t.Helper()
	if r.in.Status != status || !slices.Equal(r.asked, asked) {
		r.t.Fatalf("%v, %q;\nwant %v, %q", r.in.Status, r.asked, status, asked)
	}
	r.asked = nil
}

func TestAllDone(t *testing.T) {
	skipped := compensatable("gift")
	skipped.When = func(order) bool { return false }
	r := begin(t, define(compensatable("reserve"), skipped, pivot("charge"), retriable("ship")))
	r.expect(Running, "reserve do 1")
	r.reply("reserve", Do, Accepted, "")
	r.expect(Running, "charge do 1")
	r.reply("charge", Do, Accepted, "")
	r.expect(Running, "ship do 1")
	r.reply("ship", Do, Accepted, "")
	r.expect(Completed)
	if want := []Outcome{Done, PassedOver, Done, Done}; !slices.Equal(r.in.Outcomes, want) {
		t.Errorf("outcomes %v, want %v", r.in.Outcomes, want)
	}
	r.reply("ship", Do, Accepted, "") // a repeat
	r.expect(Completed)
}

func TestRejectedPivotGoesBackInReverse(t *testing.T) {
	r := begin(t, define(compensatable("reserve"), compensatable("book"), pivot("charge"), retriable("ship")))
	r.reply("reserve", Do, Accepted, "")
	r.reply("book", Do, Accepted, "")
	r.reply("charge", Do, Rejected, "no funds")
	r.expect(Compensating, "reserve do 1", "book do 1", "charge do 1", "book undo 1")
	r.reply("book", Undo, Accepted, "")
	r.expect(Compensating, "reserve undo 1")
	r.reply("charge", Do, Accepted, "") // late, and not true
	r.reply("reserve", Undo, Accepted, "")
	r.expect(Compensated)
	if r.in.Reason != "no funds" {
		t.Errorf("reason %q", r.in.Reason)
	}
}

// A command without a reply is sent again under its key; then the step may have
// been done, and is undone.
func TestSilentStepIsUndone(t *testing.T) {
	step := compensatable("reserve")
	step.Policy = supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Second)}
	r := begin(t, define(step, pivot("charge")))
	r.wait() // the time-out
	r.expect(Running, "reserve do 1")
	stale := r.timer
	r.wait() // the back-off
	r.expect(Running, "reserve do 2")
	if err := r.tell(TimerFired{stale}); err != nil {
		t.Fatal(err)
	}
	r.expect(Running)
	r.wait()
	r.expect(Compensating, "reserve undo 1")
	r.reply("reserve", Undo, Accepted, "")
	r.expect(Compensated)
}

// While it waits to be tried again, a reply to the attempt before still counts.
func TestLateReplyCounts(t *testing.T) {
	r := begin(t, define(compensatable("reserve"), pivot("charge")))
	r.wait()
	r.reply("reserve", Do, Accepted, "")
	r.expect(Running, "reserve do 1", "charge do 1")
}

func TestUnknownOutcomeIsQueried(t *testing.T) {
	step := pivot("charge")
	step.Query = send("charge")
	step.Policy = supervision.Policy{MaxAttempts: 1}
	for result, want := range map[Result]Status{Accepted: Completed, Rejected: Compensated} {
		r := begin(t, define(step))
		r.wait()
		r.expect(Running, "charge do 1", "charge query 1")
		r.reply("charge", Query, result, "so it is")
		r.expect(want)
	}
}

func TestPivotOfUnknownOutcomeIsStuck(t *testing.T) {
	step := pivot("charge")
	step.GiveUp = time.Hour
	step.Policy = supervision.Policy{Backoff: supervision.Constant(40 * time.Minute)}
	for operation, want := range map[Operation]string{
		Retry: "charge do 1", Resolve: "ship do 1", Skip: "reserve undo 1",
	} {
		r := begin(t, define(compensatable("reserve"), step, retriable("ship")))
		r.reply("reserve", Do, Accepted, "")
		r.wait()
		r.wait()
		r.wait()
		r.expect(Stuck, "reserve do 1", "charge do 1", "charge do 2")
		if err := r.tell(CancelAsked{"changed my mind"}); !errors.Is(err, ErrPastPivot) {
			t.Errorf("cancel past the pivot: %v", err)
		}
		if err := r.tell(OperatorActed{Operation: operation, Who: "ann", Reason: "looked at the bank"}); err != nil {
			t.Fatal(err)
		}
		if len(r.asked) != 1 || r.asked[0] != want {
			t.Errorf("%v: asked %q, want %q", operation, r.asked, want)
		}
	}
}

// Scenario B27: the compensation itself is rejected.
func TestRejectedCompensation(t *testing.T) {
	second := compensatable("s2")
	second.UndoPolicy = supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(100 * time.Millisecond)}
	for _, operation := range []Operation{Resolve, Retry, Skip} {
		t.Run(operation.String(), func(t *testing.T) {
			r := begin(t, define(compensatable("s1"), second, compensatable("s3"), pivot("s4")))
			r.reply("s1", Do, Accepted, "")
			r.reply("s2", Do, Accepted, "")
			r.reply("s3", Do, Rejected, "sold out")
			for range 3 {
				r.reply("s2", Undo, Rejected, "already shipped")
				if r.in.Status != Stuck {
					r.wait()
				}
			}
			r.expect(Stuck, "s1 do 1", "s2 do 1", "s3 do 1", "s2 undo 1", "s2 undo 2", "s2 undo 3")
			if !strings.Contains(r.log[len(r.log)-1].Reason, "attempt 3: rejected: already shipped") || r.in.Work.Step != 1 {
				t.Errorf("stuck at step %d: %v", r.in.Work.Step, r.log[len(r.log)-1])
			}
			if err := r.tell(OperatorActed{Operation: operation, Who: "ann", Reason: "called them"}); err != nil {
				t.Fatal(err)
			}
			if operation == Retry {
				r.expect(Compensating, "s2 undo 1")
				r.reply("s2", Undo, Accepted, "")
			}
			r.expect(Compensating, "s1 undo 1")
			r.reply("s1", Undo, Accepted, "")
			r.expect(Compensated)
			acted := slices.IndexFunc(r.log, func(e Entry) bool { return e.What == Acted })
			if e := r.log[acted]; e.Who != "ann" || !strings.Contains(e.Reason, "called them") || e.Step != "s2" {
				t.Errorf("logged %+v", e)
			}
		})
	}
}

// A compensation is tried without a limit of its own, ever more seldom, until it has
// taken a day, or as long as UndoGiveUp says; then the saga is stuck, with the end of
// the last try.
func TestCompensationIsStuckByTime(t *testing.T) {
	for giveUp, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, time.Hour: time.Hour} {
		t.Run(giveUp.String(), func(t *testing.T) {
			step := compensatable("reserve")
			step.UndoGiveUp = giveUp
			r := begin(t, define(step, pivot("charge")))
			r.reply("reserve", Do, Accepted, "")
			r.reply("charge", Do, Rejected, "no funds")
			for r.in.Status == Compensating { // nobody answers
				if r.now.Sub(noon) > 2*want {
					t.Fatalf("it is still compensating after %v", r.now.Sub(noon))
				}
				r.wait()
			}
			if took := r.now.Sub(noon); r.in.Status != Stuck || took < want-time.Minute || took > want+time.Minute {
				t.Errorf("%v after %v, want it stuck after %v", r.in.Status, took, want)
			}
			if len(r.asked) < 12 {
				t.Errorf("asked %d times", len(r.asked))
			}
		})
	}
}

func TestOperationsAreForTheStuck(t *testing.T) {
	r := begin(t, define(pivot("charge")))
	if err := r.tell(OperatorActed{Operation: Resolve, Reason: "?"}); !errors.Is(err, ErrNotStuck) {
		t.Error(err)
	}
	r.reply("charge", Do, Accepted, "")
	if err := r.tell(OperatorActed{Operation: Resolve, Reason: "?"}); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	if err := r.tell(CancelAsked{}); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
}

// Cancelling waits for the outcome of the step under way, which tells whether it
// must be undone.
func TestCancel(t *testing.T) {
	for name, test := range map[string]struct {
		then func(*run)
		want []string
	}{
		"accepted": {func(r *run) { r.reply("book", Do, Accepted, "") }, []string{"book undo 1"}},
		"rejected": {func(r *run) { r.reply("book", Do, Rejected, "") }, []string{"reserve undo 1"}},
		"silent":   {func(r *run) { r.wait() }, []string{"book undo 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t, define(compensatable("reserve"), compensatable("book"), pivot("charge")))
			r.reply("reserve", Do, Accepted, "")
			r.asked = nil
			for range 2 {
				if err := r.tell(CancelAsked{"changed my mind"}); err != nil {
					t.Fatal(err)
				}
			}
			r.expect(Running)
			test.then(r)
			r.expect(Compensating, test.want...)
		})
	}
}

func TestCancelledWhileItWaits(t *testing.T) {
	r := begin(t, define(compensatable("reserve"), pivot("charge")))
	r.wait()
	if err := r.tell(CancelAsked{}); err != nil {
		t.Fatal(err)
	}
	r.expect(Compensating, "reserve do 1", "reserve undo 1")
}

func TestDeadline(t *testing.T) {
	def := define(compensatable("reserve"), pivot("charge"))
	def.Deadline = time.Second
	r := begin(t, def)
	r.now = noon.Add(time.Second)
	deadline := TimerFired{Timer{At: r.now}}
	if err := r.tell(deadline); err != nil {
		t.Fatal(err)
	}
	r.reply("reserve", Do, Accepted, "")
	r.expect(Compensating, "reserve do 1", "reserve undo 1")

	r = begin(t, def)
	r.reply("reserve", Do, Accepted, "")
	r.now = noon.Add(time.Second)
	if err := r.tell(deadline); err != nil { // past the pivot
		t.Fatal(err)
	}
	r.reply("charge", Do, Accepted, "")
	r.expect(Completed, "reserve do 1", "charge do 1")
}

func TestCalls(t *testing.T) {
	step := Step[order]{Name: "price", Kind: Pivot, Do: Call(time.Second, func(_ context.Context, _ string, o order) (order, error) { return o, nil })}
	r := begin(t, define(step))
	r.expect(Running, "price do called")
	if again := r.def.Resume(r.in); len(again) != 1 || again[0].Key != "checkout/7/price/do" || again[0].Timeout != time.Second {
		t.Errorf("Resume: %+v", again)
	}
	state := order{Notes: []string{"7.50"}}
	if err := r.tell(Replied[order]{Reply: Reply{Key: "checkout/7/price/do", Result: Accepted}, State: &state}); err != nil {
		t.Fatal(err)
	}
	r.expect(Completed)
	if len(r.in.State.Notes) != 1 {
		t.Errorf("state %+v", r.in.State)
	}
	if again := r.def.Resume(r.in); again != nil {
		t.Errorf("Resume of one that has ended: %+v", again)
	}
}

// A reply that cannot be understood changes nothing.
func TestUnreadableReply(t *testing.T) {
	step := pivot("charge")
	step.Do.accepted = func(o order, r Reply) (order, error) { return o, r.Decode(&o) }
	r := begin(t, define(step))
	err := r.tell(Replied[order]{Reply: Reply{Key: r.in.key("charge", Do), Result: Accepted, Payload: []byte("{")}})
	if err == nil || !strings.Contains(err.Error(), "checkout/7/charge/do") {
		t.Errorf("error %v", err)
	}
	r.expect(Running, "charge do 1")
}

func TestMismatch(t *testing.T) {
	r := begin(t, define(pivot("charge")))
	r.in.Version = 2
	if err := r.tell(CancelAsked{}); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("error %v", err)
	}
}
