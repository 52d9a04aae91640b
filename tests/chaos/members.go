package chaos

import (
	"math/rand/v2"
	"time"
)

// Nothing is broken: nothing is handled twice, no epoch ends without warning.
func calm(f *field) {
	f.two()
	f.pile(f.target.hands())
	f.pass(f.target.Hold)
	v := f.finish()
	if v.Losses > 0 {
		f.Errorf("%d epochs were lost though nothing was broken", v.Losses)
	}
}

// Members come and go in order: nothing is handled twice by it. If CHAOS_LONG is set,
// one each second for a minute or for so long.
func membersStorm(f *field) {
	f.two()
	until := time.Now().Add(max(f.longRun, time.Minute))
	for i := 0; i < 12 || f.longRun > 0 && time.Now().Before(until); i++ {
		f.pile(f.target.hands() / 4)
		if n := len(f.members); n < 2 || n < 4 && rand.N(2) == 0 {
			f.join(nil)
		} else {
			f.leave(f.members[rand.N(n)])
		}
		if f.longRun > 0 {
			f.pass(time.Second)
			continue
		}
		f.pass(rand.N(f.target.Hold / 4))
	}
	f.resumes()
	v := f.finish()
	if v.Losses > 0 {
		f.Errorf("%d epochs were lost though members only joined and left", v.Losses)
	}
}

// One of two processes is killed: the other takes over.
func membersKilled(f *field) {
	f.supply()
	first, second := f.joinProcess(), f.joinProcess()
	f.flow()
	f.bothWork(first, second)
	f.pile(f.target.hands())
	f.kill(first)
	f.takesOver(second.cfg.Name)
	f.joinProcess()
	f.finish()
}

// All processes are killed in the middle of their work: what they had not
// settled is what the next member is given.
func membersAllKilled(f *field) {
	f.supply()
	first, second := f.joinProcess(), f.joinProcess()
	f.flow()
	f.bothWork(first, second)
	f.pile(f.target.hands())
	f.kill(first)
	f.kill(second)
	f.pass(f.target.Hold) // messages that nobody handles
	f.confirmed()
	f.judge()
}

// What a member says is lost for less than its lease lasts, and the connection
// with it; long after, the member is killed. What it had acknowledged meanwhile
// it has acknowledged again, so the journal has no excuse for a repeat of that.
func membersKilledAfterCut(f *field) {
	f.supply()
	p := f.joinProcess()
	f.flow()
	for range 3 {
		f.pile(f.target.hands())
		mend, err := poison([]toxic{mute}, p.link)(f.Context())
		f.ok(err)
		f.pass(f.target.Lease / 4)
		f.ok(mend(f.Context())) // which ends the connection
		f.resumes()
	}
	f.pass(2 * f.target.Limits.AckLag)
	f.kill(p)
	f.confirmed()
	f.judge()
}

// bothWork waits until each of two members handles something.
func (f *field) bothWork(first, second *process) {
	f.Helper()
	f.await("both members handling", patience, func() bool {
		return f.anyBy(first.cfg.Name) && f.anyBy(second.cfg.Name)
	})
}

// takesOver waits until a member handles every partition.
func (f *field) takesOver(member string) {
	f.Helper()
	began := time.Now()
	f.await("take-over of every partition", f.target.Lease+f.target.Resume, func() bool { return f.allBy(member, began) })
	f.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
}

// All members stop in the middle of their work: what they had not settled, and
// nothing else, is what the next member is given.
func membersStopped(f *field) {
	f.two()
	f.pile(f.target.hands())
	f.disband()
	f.pass(f.target.Hold) // messages that nobody handles
	f.confirmed()
	v := f.judge()
	if v.Repeats > 0 && !f.target.Transactional {
		f.Errorf("%d messages were handled twice though nothing was broken", v.Repeats)
	}
}
