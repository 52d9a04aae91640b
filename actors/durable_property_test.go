package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// list is a durable actor that remembers all that it handled, in order.
type list struct{ Seen []string }

func (l *list) add(ctx *actors.Context, item string) error {
	l.Seen = append(l.Seen, item)
	if strings.HasSuffix(item, "!") && ctx.Attempt() == 1 {
		return errFlaky
	}
	return ctx.Publish("out", item)
}

// troubled is a store whose next transactions fail: before they begin, or after
// they were committed.
type troubled struct {
	durable.Memory

	mu     sync.Mutex
	refuse int
	lose   int
}

var errTrouble = errors.New("trouble")

func (s *troubled) Commit(ctx context.Context, units []durable.Unit) error {
	s.mu.Lock()
	refuse, lose := s.refuse > 0, s.lose > 0
	s.refuse, s.lose = max(0, s.refuse-1), max(0, s.lose-1)
	s.mu.Unlock()
	if refuse {
		return errTrouble
	}
	if err := s.Memory.Commit(ctx, units); err != nil {
		return err
	}
	if lose {
		return errTrouble
	}
	return nil
}

// Whatever the store and the broker do, each message changes its key's state
// once, in order, and is published once.
func TestWhateverHappensDurableEffectsAreOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		items := rapid.SliceOfN(rapid.SampledFrom([]string{"k0", "k1", "k1!", "k2"}), 1, 40).Draw(rt, "items")
		blows := rapid.SliceOfN(rapid.SampledFrom([]string{"wait", "refuse", "lose", "expel", "rebalance", "fence"}), 0, 8).Draw(rt, "blows")
		groups := rapid.SampledFrom([]int{1, 3, 200}).Draw(rt, "group")
		store := &troubled{}
		want := make(map[string][]string)
		inWorld(t, memory.Config{Partitions: 2}, func(w *world) {
			actor := actors.Durable(func(string) *list { return &list{} }, actors.Durability{Store: store, MaxGroup: groups})
			actors.On(actor, "add", (*list).add)
			for i, item := range items {
				key, text := item[:2], fmt.Sprintf("%d%s", i, item[2:])
				m := amounts(key, i, 0)[0]
				m.Payload = fmt.Appendf(nil, "%q", text)
				want[key] = append(want[key], text)
				w.send(m)
			}
			w.start(actors.Subscription{Actor: actor, Policy: supervision.Policy{MaxAttempts: -1, Backoff: supervision.Constant(time.Second)}})
			for _, blow := range blows {
				w.strikeDurable(blow, store)
				w.pass(time.Duration(rapid.IntRange(0, 2000).Draw(rt, "pause")) * time.Millisecond)
			}
			w.pass(time.Hour)
			w.stop()
		})
		for key, texts := range want {
			if got := listOf(t, store, key); !slices.Equal(got, texts) {
				rt.Fatalf("state of %s is %q, want %q", key, got, texts)
			}
			var out []string
			for _, m := range store.Messages() {
				if string(m.Key) == key {
					out = append(out, strings.Trim(string(m.Payload), `"`))
				}
			}
			if !slices.Equal(out, texts) {
				rt.Fatalf("published for %s: %q, want %q", key, out, texts)
			}
		}
	})
}

func (w *world) strikeDurable(blow string, store *troubled) {
	server := w.broker.Server()
	switch blow {
	case "refuse", "lose":
		store.mu.Lock()
		defer store.mu.Unlock()
		if blow == "refuse" {
			store.refuse += 3
		} else {
			store.lose += 3
		}
	case "expel":
		if members := server.Members("g0"); len(members) > 0 {
			w.must(server.Expel("g0", members[0].Name))
		}
	case "rebalance":
		server.Rebalance("g0")
	case "fence":
		_, err := store.Acquire(context.Background(), durable.Scope{Group: "g0", Topic: "in", Partition: 1})
		w.must(err)
	}
}

func listOf(t *testing.T, store durable.Store, key string) []string {
	t.Helper()
	record, err := store.Load(t.Context(), durable.Scope{Group: "g0", Topic: "in"}, key)
	if err != nil {
		t.Fatal(err)
	}
	var l list
	if err := json.Unmarshal(record.State, &l); err != nil {
		t.Fatal(err)
	}
	return l.Seen
}
