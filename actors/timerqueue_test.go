package actors

import (
	"testing"

	"pgregory.net/rapid"
)

// The queue under random additions, removals (of those that are in it, and of
// those that are not) and expiries: what is due comes in order of time, each
// timer once, and none that was removed.
func TestTimerQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			q   timerQueue
			all []*timer
			in  = map[*timer]bool{}
			now int64
		)
		pick := func(t *rapid.T) *timer {
			if len(all) == 0 {
				t.Skip("no timers")
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "timer")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				x := &timer{at: now + rapid.Int64Range(-2, 20).Draw(t, "in")}
				q.add(x)
				all = append(all, x)
				in[x] = true
			},
			"add again": func(t *rapid.T) {
				x := pick(t)
				if !in[x] {
					x.at = now + rapid.Int64Range(0, 20).Draw(t, "in")
				}
				q.add(x)
				in[x] = true
			},
			"remove": func(t *rapid.T) {
				x := pick(t)
				q.remove(x)
				delete(in, x)
			},
			"remove one never added": func(t *rapid.T) {
				q.remove(&timer{})
				q.remove(nil)
			},
			"time passes": func(t *rapid.T) {
				now += rapid.Int64Range(0, 10).Draw(t, "by")
				last := int64(-1 << 62)
				for x := q.due(now); x != nil; x = q.due(now) {
					if !in[x] || x.at > now || x.at < last {
						t.Fatalf("timer due at %d fired at %d after one due at %d; set: %v", x.at, now, last, in[x])
					}
					last = x.at
					delete(in, x)
				}
				for x := range in {
					if x.at <= now {
						t.Fatalf("timer due at %d has not fired at %d", x.at, now)
					}
				}
			},
			"": func(t *rapid.T) {
				if len(q.heap) != len(in) {
					t.Fatalf("%d timers in the queue, want %d", len(q.heap), len(in))
				}
				if at, ok := q.next(); ok {
					for x := range in {
						if x.at < at {
							t.Fatalf("next is %d, though one is due at %d", at, x.at)
						}
					}
				}
			},
		})
	})
}
