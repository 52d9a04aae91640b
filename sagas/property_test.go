package sagas

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/supervision"
)

// Sagas under random results, silences, repeats, reorderings, crashes, time-outs,
// cancellations and operators, against what must hold: an instance ends
// completed, or compensated in reverse order, or is stuck and visible; what was
// done is done or undone as its end says, and nothing is undone that was not
// intended, or past the pivot.
func TestWhateverHappensASagaEndsRightly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(0, 60).Draw(rt, "events") {
			w.happen()
		}
		w.settle()
		w.judge()
	})
}

// shop is a participant: it does a step at most once, and remembers what it has
// answered.
type shop struct {
	done, undone, refused bool
	queue                 []Message // in order, as of one key
}

// world is an instance and all it deals with.
type world struct {
	rt      *rapid.T
	def     *Definition[order]
	in      Instance[order]
	now     time.Time
	shops   []shop
	replies []Reply
	timers  []Timer
	last    []Message // of the last transition, which a crash sends again
	lowest  int       // the lowest step of which the compensation began
	fair    bool      // no more trouble
}

func newWorld(rt *rapid.T) *world {
	w := &world{rt: rt, now: noon, def: drawDefinition(rt)}
	if err := w.def.Validate(); err != nil {
		rt.Fatal(err)
	}
	w.shops = make([]shop, len(w.def.Steps))
	w.lowest = len(w.def.Steps)
	w.apply(w.def.Begin("7", order{}, w.now))
	return w
}

func drawDefinition(rt *rapid.T) *Definition[order] {
	def := define()
	if rapid.Bool().Draw(rt, "deadline") {
		def.Deadline = rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(rt, "after")
	}
	add := func(kind Kind, count int) {
		for range count {
			s := Step[order]{Name: fmt.Sprintf("s%d", len(def.Steps)), Kind: kind, Do: send("do"), GiveUp: 10 * time.Minute}
			s.Policy = supervision.Policy{MaxAttempts: rapid.IntRange(0, 3).Draw(rt, "attempts"), Backoff: supervision.Constant(time.Second)}
			if kind == Compensatable {
				s.Undo, s.UndoGiveUp = send("undo"), 10*time.Minute
				s.UndoPolicy = supervision.Policy{MaxAttempts: rapid.IntRange(0, 3).Draw(rt, "attempts to undo"), Backoff: supervision.Constant(time.Second)}
			}
			if rapid.Bool().Draw(rt, "query") {
				s.Query = send("query")
			}
			if rapid.IntRange(0, 3).Draw(rt, "condition") == 0 {
				s.When = func(order) bool { return false }
			}
			def.Steps = append(def.Steps, s)
		}
	}
	add(Compensatable, rapid.IntRange(0, 3).Draw(rt, "compensatable"))
	add(Pivot, rapid.IntRange(0, 1).Draw(rt, "pivots"))
	add(Retriable, rapid.IntRange(0, 2).Draw(rt, "retriable"))
	if len(def.Steps) == 0 {
		add(Pivot, 1)
	}
	return def
}

func (w *world) tell(e Event) bool {
	tr, err := w.def.Advance(w.in, e, w.now)
	if err != nil {
		return false
	}
	w.apply(tr)
	return true
}

// apply stores a transition and sends what it says. What may not happen at all
// is found here.
func (w *world) apply(tr Transition[order]) {
	before := w.in
	w.in = tr.Instance
	if before.Status.Ended() && (w.in.Status != before.Status || len(tr.Commands) > 0) {
		w.rt.Fatalf("went on after %v", before.Status)
	}
	for _, c := range tr.Commands {
		_, _, name, verb, _ := ParseKey(c.IdempotencyKey)
		step, _ := w.def.step(name)
		w.watch(before, step, verb)
		w.shops[step].queue = append(w.shops[step].queue, c)
	}
	w.last = tr.Commands
	w.timers = append(w.timers, tr.Timers...)
	if !w.in.Status.Ended() && w.in.Status != Stuck && !w.hasTimer() {
		w.rt.Fatalf("%v at %+v without a timer", w.in.Status, w.in.Work)
	}
}

func (w *world) hasTimer() bool {
	return slices.ContainsFunc(w.timers, func(t Timer) bool { return t.Token == w.in.Token })
}

func (w *world) watch(before Instance[order], step int, verb Verb) {
	switch verb {
	case Undo:
		if o := before.Outcomes[step]; o != Done && o != Unknown && o != Intended {
			w.rt.Fatalf("step %d is undone, and was %v", step, o)
		}
		for i, s := range w.def.Steps {
			if s.Kind != Compensatable && w.in.Outcomes[i] == Done {
				w.rt.Fatalf("step %d is undone past the pivot", step)
			}
		}
		if step > w.lowest {
			w.rt.Fatalf("step %d is undone after step %d", step, w.lowest)
		}
		w.lowest = step
	case Do:
		if w.lowest < len(w.def.Steps) {
			w.rt.Fatalf("step %d is begun while others are undone", step)
		}
	}
}

// happen is one random thing.
func (w *world) happen() {
	switch rapid.SampledFrom([]string{"deliver", "deliver", "deliver", "reply", "reply", "timer", "crash", "stale", "cancel", "operate"}).Draw(w.rt, "happens") {
	case "deliver":
		w.deliver(rapid.IntRange(0, len(w.shops)-1).Draw(w.rt, "shop"))
	case "reply":
		if len(w.replies) > 0 {
			w.answer(rapid.IntRange(0, len(w.replies)-1).Draw(w.rt, "reply"), rapid.Bool().Draw(w.rt, "again"))
		}
	case "timer":
		w.tick()
	case "crash": // after the store, before it is known that the commands went out
		for _, c := range w.last {
			_, _, name, _, _ := ParseKey(c.IdempotencyKey)
			step, _ := w.def.step(name)
			w.shops[step].queue = append(w.shops[step].queue, c)
		}
	case "stale":
		if len(w.timers) > 0 {
			w.tell(TimerFired{w.timers[rapid.IntRange(0, len(w.timers)-1).Draw(w.rt, "timer")]})
		}
	case "cancel":
		w.tell(CancelAsked{"cancelled"})
	case "operate":
		w.operate()
	}
}

// deliver gives a shop its next command. Its answer may be lost.
func (w *world) deliver(step int) bool {
	s := &w.shops[step]
	if len(s.queue) == 0 {
		return false
	}
	c := s.queue[0]
	s.queue = s.queue[1:]
	_, _, _, verb, _ := ParseKey(c.IdempotencyKey)
	r := Reply{Key: c.IdempotencyKey, Result: Accepted}
	trouble := "none"
	if !w.fair {
		trouble = rapid.SampledFrom([]string{"none", "none", "silent", "lost", "fails", "rejects"}).Draw(w.rt, "trouble")
	}
	if trouble == "lost" {
		return true // on its way there
	}
	switch {
	case trouble == "fails":
		r.Result = Failed
	case verb == Query && !s.done:
		r.Result = Rejected
	case verb == Do:
		s.act(&r, trouble == "rejects")
	case verb == Undo && trouble == "rejects":
		r.Result = Rejected
	case verb == Undo:
		s.undone = true
	}
	if trouble != "silent" {
		w.replies = append(w.replies, r)
	}
	return true
}

func (s *shop) act(r *Reply, refuse bool) {
	switch {
	case s.undone, s.refused:
		r.Result = Rejected
	case s.done:
	case refuse:
		s.refused = true
		r.Result = Rejected
	default:
		s.done = true
	}
}

func (w *world) answer(i int, again bool) {
	r := w.replies[i]
	if !again {
		w.replies = slices.Delete(w.replies, i, i+1)
	}
	w.tell(Replied[order]{Reply: r})
}

// tick lets the earliest timer fire.
func (w *world) tick() bool {
	if len(w.timers) == 0 {
		return false
	}
	i := 0
	for j, t := range w.timers {
		if t.At.Before(w.timers[i].At) {
			i = j
		}
	}
	t := w.timers[i]
	w.timers = slices.Delete(w.timers, i, i+1)
	if t.At.After(w.now) {
		w.now = t.At
	}
	w.tell(TimerFired{t})
	return true
}

// operate is a person who looks before deciding.
func (w *world) operate() {
	if w.in.Status != Stuck {
		if w.tell(OperatorActed{Operation: Resolve, Reason: "?"}) {
			w.rt.Fatalf("operated on while %v", w.in.Status)
		}
		return
	}
	step := w.in.Work.Step
	for w.deliver(step) { // until nothing is on its way
	}
	s := &w.shops[step]
	operation := Skip
	switch undoing := w.in.Work.Verb == Undo; {
	case rapid.Bool().Draw(w.rt, "retry") && (undoing || !s.refused):
		operation = Retry
	case undoing:
		operation = Resolve
		s.undone = true // by hand
	case s.done:
		operation = Resolve
	default:
		s.refused = true // by a word to the shop
	}
	if !w.tell(OperatorActed{Operation: operation, Who: "ann", Reason: "looked"}) {
		w.rt.Fatal("an operation was refused")
	}
}

// settle lets everything go well until nothing moves.
func (w *world) settle() {
	w.fair = true
	for range 10_000 {
		moved := false
		for step := range w.shops {
			moved = w.deliver(step) || moved
		}
		for len(w.replies) > 0 {
			w.answer(0, false)
			moved = true
		}
		switch {
		case moved:
		case w.in.Status == Stuck:
			w.operate()
		case w.in.Status.Ended():
			return
		default:
			w.tick()
		}
	}
	w.rt.Fatalf("does not end: %v at %+v", w.in.Status, w.in.Work)
}

func (w *world) judge() {
	for i, s := range w.shops {
		kind, outcome := w.def.Steps[i].Kind, w.in.Outcomes[i]
		switch {
		case w.in.Status == Completed && outcome != Done && outcome != PassedOver,
			w.in.Status == Completed && outcome == Done && (!s.done || s.undone),
			w.in.Status == Completed && outcome == PassedOver && s.done:
			w.rt.Fatalf("completed, and step %d (%v) is %v: %+v", i, kind, outcome, s)
		case w.in.Status == Compensated && s.done && !s.undone:
			w.rt.Fatalf("compensated, and step %d (%v) is %v: %+v", i, kind, outcome, s)
		}
	}
}
