package actors

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// The scheduler under random arrivals, turns that end anywhere, waits and
// passivations: each key's messages are handled one turn at a time, in order,
// none lost, and its counts are true.
func TestSchedulerKeepsEachKeysOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			s       = newScheduler()
			sent    = map[string]int64{} // next number to send
			done    = map[string]int64{} // next number to be handled
			running = map[*cell]*item{}
			waiting = map[*cell]bool{}
			now     int64
		)
		pick := func(t *rapid.T, from int) int { return rapid.IntRange(0, from-1).Draw(t, "pick") }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := fmt.Sprintf("k%d", rapid.IntRange(0, 5).Draw(t, "key"))
				s.add(s.keyed([]byte(key)), &item{message: &brokers.Message{Offset: sent[key]}, size: 1})
				sent[key]++
			},
			"next": func(t *rapid.T) {
				c, chain, n := s.next(int32(rapid.IntRange(1, 4).Draw(t, "limit")))
				if c == nil {
					t.Skip("no key is ready")
				}
				if running[c] != nil || has(waiting, c) {
					t.Fatalf("key %q runs twice", c.key)
				}
				if chainLen(chain) != n {
					t.Fatalf("chain of %d, said to be %d", chainLen(chain), n)
				}
				running[c] = chain
			},
			"end a turn": func(t *rapid.T) {
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				c := sorted(running)[pick(t, len(running))]
				it := running[c]
				delete(running, c)
				handled := rapid.IntRange(0, int(chainLen(it))).Draw(t, "handled")
				for range handled {
					if it.message.Offset != done[c.key] {
						t.Fatalf("key %q: handled %d, want %d", c.key, it.message.Offset, done[c.key])
					}
					done[c.key]++
					it = it.next
				}
				if it != nil {
					s.prepend(c, it, chainLen(it))
				}
				now++
				if it != nil && rapid.Bool().Draw(t, "wait") {
					waiting[c] = rapid.Bool().Draw(t, "long")
					s.wait(c, waiting[c])
					return
				}
				s.finish(c, now)
			},
			"wake": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nothing waits")
				}
				c := sorted(waiting)[pick(t, len(waiting))]
				delete(waiting, c)
				s.wake(c, now)
			},
			"passivate": func(t *rapid.T) {
				if s.oldest == nil {
					t.Skip("nothing is idle")
				}
				if s.oldest.head != nil {
					t.Fatal("an idle key has a queue")
				}
				s.forget(s.oldest)
			},
			"": func(t *rapid.T) {
				held := 0
				for c, long := range waiting {
					if long {
						held += int(c.queued)
					}
				}
				if s.held != held || s.heldBytes != held || len(s.waiting) != len(waiting) || s.running != len(running) {
					t.Fatalf("held %d (%d bytes), waiting %d, running %d; want %d, %d, %d",
						s.held, s.heldBytes, len(s.waiting), s.running, held, len(waiting), len(running))
				}
				for key, n := range sent {
					if queued := sent[key] - done[key]; queued < 0 || n < done[key] {
						t.Fatalf("key %q: %d handled of %d", key, done[key], n)
					}
				}
			},
		})
		// In the end everything that was sent is handled.
		for c := range waiting {
			s.wake(c, now)
		}
		for c, it := range running {
			s.prepend(c, it, chainLen(it))
			s.finish(c, now)
		}
		for c, it, _ := s.next(3); c != nil; c, it, _ = s.next(3) {
			for ; it != nil; it = it.next {
				if it.message.Offset != done[c.key] {
					t.Fatalf("key %q: handled %d, want %d", c.key, it.message.Offset, done[c.key])
				}
				done[c.key]++
			}
			s.finish(c, now)
		}
		for key := range sent {
			if done[key] != sent[key] {
				t.Fatalf("key %q: %d of %d handled", key, done[key], sent[key])
			}
		}
	})
}

func has(m map[*cell]bool, c *cell) bool {
	_, ok := m[c]
	return ok
}

// sorted makes the choice among map keys repeatable.
func sorted[V any](m map[*cell]V) []*cell {
	var cells []*cell
	for i := range 6 {
		for c := range m {
			if c.key == fmt.Sprintf("k%d", i) {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

// Keys that are gone leave no memory behind.
func TestSchedulerShrinks(t *testing.T) {
	s := newScheduler()
	for i := range 100_000 {
		c := s.keyed(fmt.Append(nil, i))
		s.linkIdle(c, 0)
	}
	for s.oldest != nil {
		s.forget(s.oldest)
	}
	if len(s.cells) != 0 || s.peak > smallMap || s.spares > maxSpares {
		t.Errorf("%d cells are left, room for %d, and %d spare ones", len(s.cells), s.peak, s.spares)
	}
	if c := s.keyed([]byte("again")); c.key != "again" || s.spares != maxSpares-1 {
		t.Errorf("cell %q, %d spare ones", c.key, s.spares)
	}
}
