package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// purse is a durable actor: it adds up what its messages say.
type purse struct {
	w *world

	Sum int
}

func (p *purse) add(ctx *actors.Context, amount int) error {
	p.Sum += amount // before it may fail, to show that this leaves no trace
	p.w.note("%s+%d=%d", ctx.Key(), amount, p.Sum)
	if amount == 13 && ctx.Attempt() == 1 {
		return errFlaky
	}
	if amount == 666 {
		panic("evil")
	}
	return ctx.Publish("out", p.Sum)
}

type getSum struct{}

func (w *world) purses(d actors.Durability) *actors.Blueprint[purse] {
	b := actors.Durable(func(string) *purse { return &purse{w: w} }, d)
	actors.On(b, "add", (*purse).add)
	actors.OnRequest(b, "sum", func(p *purse, _ *actors.Context, _ getSum) (int, error) { return p.Sum, nil })
	return b
}

func amounts(key string, from int, values ...int) (messages []brokers.Message) {
	for i, v := range values {
		messages = append(messages, brokers.Message{
			Topic: "in", Key: []byte(key), ID: fmt.Sprintf("%s/%d", key, from+i), Payload: fmt.Append(nil, v),
			Headers: brokers.Headers{{Key: "type", Value: []byte("add")}},
		})
	}
	return messages
}

// sums are the states in a store.
func sums(t *testing.T, store *durable.Memory, keys ...string) map[string]int {
	t.Helper()
	all := make(map[string]int)
	for _, key := range keys {
		record, err := store.Load(t.Context(), durable.Scope{Group: "g0", Topic: "in"}, key)
		if err != nil {
			t.Fatal(err)
		}
		var p purse
		if record.Revision > 0 {
			if err := json.Unmarshal(record.State, &p); err != nil {
				t.Fatal(err)
			}
		}
		all[key] = p.Sum
	}
	return all
}

func published(store *durable.Memory) (ids []string) {
	for _, m := range store.Messages() {
		ids = append(ids, m.ID+"="+string(m.Payload))
	}
	return ids
}

// The state is that of each message handled once, whatever fails and panics, and
// outlives the process; what was published is with it.
func TestDurableState(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		policy := supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Second), DeadLetter: "dead"}
		w.send(amounts("k", 1, 1, 2, 13, 4)...)
		w.start(actors.Subscription{Policy: policy, Actor: w.purses(actors.Durability{Store: store})})
		w.expect("k+1=1", "k+2=3", "k+13=16")
		if got := sums(t, store, "k")["k"]; got != 3 {
			t.Fatalf("the sum is %d before the retry, want 3", got)
		}
		w.pass(time.Second)
		w.expect("k+13=16", "k+4=20")
		w.send(amounts("k", 5, 666, 1)...)
		w.pass(time.Second)
		w.expect("k+666=686", "k+666=686", "k+1=21")
		w.stop()
		if got, want := published(store), []string{"k/1>g0#0=1", "k/2>g0#0=3", "k/3>g0#0=16", "k/4>g0#0=20", "k/6>g0#0=21"}; !slices.Equal(got, want) {
			t.Errorf("published %q, want %q", got, want)
		}
		w.send(amounts("k", 7, 1)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.expect("k+1=22")
		if got := w.position("g0"); got != 7 {
			t.Errorf("position %d, want 7", got)
		}
	})
}

// What was committed and not acknowledged comes again and is passed over.
func TestDurableRepeats(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		release := w.broker.Server().HoldAcks()
		w.send(amounts("k", 1, 1, 2, 3)...)
		w.send(amounts("j", 1, 5)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.expectAnyOrder("k+1=1", "k+2=3", "k+3=6", "j+5=5")
		w.must(w.broker.Server().Expel("g0", w.broker.Server().Members("g0")[0].Name))
		release()
		w.pass(time.Second)
		w.send(amounts("k", 4, 4)...)
		w.pass(time.Second)
		if want := map[string]int{"k": 10, "j": 5}; !maps.Equal(sums(t, store, "k", "j"), want) {
			t.Errorf("sums %v, want %v", sums(t, store, "k", "j"), want)
		}
		if got := published(store); len(got) != 5 {
			t.Errorf("published %q", got)
		}
		if got := w.position("g0"); got != 5 {
			t.Errorf("position %d, want 5", got)
		}
	})
}

// So are repeats that come together, and those under another key.
func TestDurableRepeatsTogether(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		twice := amounts("k", 1, 5)
		other := amounts("j", 1, 5)
		other[0].ID = twice[0].ID
		w.send(append(append(twice, twice...), other...)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.pass(time.Second)
		if got := sums(t, store, "k", "j"); got["k"]+got["j"] != 5 || len(published(store)) != 1 {
			t.Errorf("sums %v, want 5 in all; published %q", got, published(store))
		}
		if got := w.position("g0"); got != 3 {
			t.Errorf("position %d, want 3", got)
		}
	})
}

// Keys share transactions: what comes during one is in the next. A second one is
// begun when a whole group waits, and no third.
func TestDurableGroups(t *testing.T) {
	inWorld(t, memory.Config{Partitions: 4}, func(w *world) {
		store := &durable.Memory{}
		first := make(chan struct{})
		var begun atomic.Int32
		store.Before = func([]durable.Unit) error {
			if begun.Add(1) <= 3 {
				<-first
			}
			return nil
		}
		keys := make([]string, 300)
		for i := range keys {
			keys[i] = fmt.Sprint("key ", i)
			w.send(amounts(keys[i], 1, 1)...)
		}
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store, MaxGroup: 100})})
		w.pass(time.Second)
		if got := len(w.forget()); got != 300 {
			t.Fatalf("%d messages were handled while the first transaction lasted, want all", got)
		}
		if got := sums(t, store, keys...)["key 7"]; got != 0 {
			t.Errorf("a state was there before its transaction: %d", got)
		}
		if n := begun.Load(); n != 2 {
			t.Errorf("%d transactions are under way, want 2", n)
		}
		close(first)
		w.pass(time.Second)
		if n := store.Commits(); n < 3 || n > 6 {
			t.Errorf("%d transactions for 300 messages in groups of 100 at most", n)
		}
		for key, sum := range sums(t, store, keys...) {
			if sum != 1 {
				t.Errorf("%s is %d", key, sum)
			}
		}
	})
}

// A unit that the store refuses is found, and only its message is judged.
func TestDurablePoison(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		store.Before = func(units []durable.Unit) error {
			for _, u := range units {
				if slices.Contains(u.Handled, "k/2") {
					return errors.New("value out of range")
				}
			}
			return nil
		}
		policy := supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(time.Second), DeadLetter: "dead"}
		w.send(amounts("k", 1, 1, 2, 4)...)
		w.send(amounts("j", 1, 1, 1)...)
		w.start(actors.Subscription{Policy: policy, Actor: w.purses(actors.Durability{Store: store})})
		w.pass(10 * time.Second)
		if want := map[string]int{"k": 5, "j": 2}; !maps.Equal(sums(t, store, "k", "j"), want) {
			t.Errorf("sums %v, want %v", sums(t, store, "k", "j"), want)
		}
		dead := seen[actors.DeadLettered](w)
		if len(dead) != 1 || dead[0].ID != "k/2" || dead[0].Failure.Attempt != 3 || !strings.Contains(dead[0].Failure.Err.Error(), "out of range") {
			t.Errorf("dead letters %+v", dead)
		}
	})
}

// A store that is down burns no attempts; the subscription waits for it.
func TestDurableStoreDown(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		var down atomic.Bool
		down.Store(true)
		store.Before = func([]durable.Unit) error {
			if down.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		policy := supervision.Policy{MaxAttempts: 1, DeadLetter: "dead"}
		for i := range 20 {
			w.send(amounts(fmt.Sprint("k", i), 1, 1, 1)...)
		}
		w.start(actors.Subscription{Policy: policy, Actor: w.purses(actors.Durability{Store: store})})
		w.pass(10 * time.Minute)
		if len(seen[actors.Suspended](w)) == 0 || len(seen[actors.DeadLettered](w)) > 0 {
			t.Fatalf("suspended %v, dead letters %v", seen[actors.Suspended](w), seen[actors.DeadLettered](w))
		}
		down.Store(false)
		w.pass(10 * time.Minute)
		if got := sums(t, store, "k0", "k19"); got["k0"] != 2 || got["k19"] != 2 {
			t.Errorf("sums %v", got)
		}
		if got := w.position("g0"); got != 40 {
			t.Errorf("position %d, want 40", got)
		}
	})
}

// Whether a transaction that failed was committed all the same is found out.
func TestDurableUnknownOutcome(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &losing{}
		w.send(amounts("k", 1, 1, 2, 3)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.pass(10 * time.Minute)
		if got := sums(t, &store.Memory, "k")["k"]; got != 6 || len(store.Messages()) != 3 {
			t.Errorf("the sum is %d, want 6; published %q", got, published(&store.Memory))
		}
		if got := w.position("g0"); got != 3 {
			t.Errorf("position %d, want 3", got)
		}
	})
}

// losing loses the answer to its first transaction.
type losing struct {
	durable.Memory

	lost bool
}

func (l *losing) Commit(ctx context.Context, units []durable.Unit) error {
	err := l.Memory.Commit(ctx, units)
	if err == nil && len(units) > 0 && !l.lost {
		l.lost = true
		return errors.New("connection reset")
	}
	return err
}

// A member that lost its partition and does not know yet commits nothing.
func TestDurableFenced(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		w.send(amounts("k", 1, 1)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.expect("k+1=1")
		_, err := store.Acquire(t.Context(), durable.Scope{Group: "g0", Topic: "in"})
		w.must(err)
		w.send(amounts("k", 2, 2)...)
		w.pass(time.Minute)
		lines := w.forget()
		if want := []string{"k+2=3", "k+2=3"}; !slices.Equal(lines, want) {
			t.Errorf("log %q, want %q: in vain, and by the next owner", lines, want)
		}
		if got := sums(t, store, "k")["k"]; got != 3 {
			t.Errorf("the sum is %d, want 3", got)
		}
		if len(published(store)) != 2 {
			t.Errorf("published %q", published(store))
		}
	})
}

// An answer says what is stored.
func TestDurableRequest(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		hold := make(chan struct{})
		store.Before = func(units []durable.Unit) error {
			if len(units) > 0 && slices.Contains(units[0].Handled, "k/2") {
				<-hold
			}
			return nil
		}
		w.send(amounts("k", 1, 1)...)
		sys := w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store})})
		w.expect("k+1=1")
		w.send(amounts("k", 2, 2)...)
		w.expect("k+2=3")
		asked := sys.ActorSystem().Root.RequestFuture(sys.PID("g0", "in", []byte("k")), getSum{}, time.Hour)
		answered := make(chan any, 1)
		go func() {
			v, err := asked.Result()
			if err != nil {
				v = err
			}
			answered <- v
		}()
		w.pass(time.Second)
		select {
		case v := <-answered:
			t.Fatalf("answered %v before the commit", v)
		default:
		}
		close(hold)
		if v := <-answered; v != 3 {
			t.Errorf("answered %v, want 3", v)
		}
	})
}

// A state that cannot be read parks its key and stays.
func TestDurableUnreadableState(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		store := &durable.Memory{}
		w.send(amounts("k", 1, 1)...)
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store, Version: 3})})
		w.expect("k+1=1")
		w.stop()
		w.send(amounts("k", 2, 2)...)
		w.send(amounts("j", 1, 5)...)
		w.start(actors.Subscription{
			Policy: supervision.Policy{DeadLetter: "dead"}, Actor: w.purses(actors.Durability{Store: store}),
		})
		w.expect("j+5=5")
		parked := seen[actors.Parked](w)
		var unreadable *actors.StateError
		if len(parked) != 1 || !errors.As(parked[0].Failure.Err, &unreadable) || unreadable.Key != "k" || unreadable.Version != 3 {
			t.Fatalf("parked %+v", parked)
		}
		w.stop()
		w.start(actors.Subscription{Actor: w.purses(actors.Durability{Store: store, Version: 4, Migrate: map[int]func([]byte) ([]byte, error){
			3: func(old []byte) ([]byte, error) { return []byte(strings.Replace(string(old), "1", "100", 1)), nil },
		}})})
		w.expect("k+2=102")
	})
}

func TestDurableRefusals(t *testing.T) {
	inWorld(t, memory.Config{}, func(w *world) {
		w.send(brokers.Message{Topic: "in", ID: "1", Payload: []byte("1")}, brokers.Message{Topic: "in", Key: []byte("k"), Payload: []byte("1")})
		w.start(actors.Subscription{
			Policy: supervision.Policy{DeadLetter: "dead"}, Actor: w.purses(actors.Durability{Store: &durable.Memory{}}),
		})
		w.pass(time.Second)
		dead := seen[actors.DeadLettered](w)
		if len(dead) != 2 || !errors.Is(dead[0].Failure.Err, actors.ErrNoKey) && !errors.Is(dead[1].Failure.Err, actors.ErrNoKey) {
			t.Errorf("dead letters %+v", dead)
		}
	})
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	_, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{"in"}, Unordered: true, Unkeyed: actors.UnkeyedConcurrent,
		Actor: actors.Durable(func(string) *purse { return nil }, actors.Durability{Version: -1}),
	})
	for _, want := range []string{"Durability.Store", "Durability.Version", "Unordered: durable", "Unkeyed: durable"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
