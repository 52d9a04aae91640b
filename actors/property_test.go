package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// fate is what is planned for one message.
type fate struct {
	key      int
	failures int           // before it ends
	end      string        // "ok", "dead" or "discard"
	panics   bool          // instead of returning errors
	takes    time.Duration // per attempt
	effects  int
}

// blow is something that befalls the system.
type blow struct {
	after time.Duration
	kind  string
	n     int
}

func drawPlan(t *rapid.T) (fates []fate, blows []blow) {
	duration := rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 300 * time.Millisecond, 2 * time.Second})
	fates = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fate {
		return fate{
			key:      rapid.IntRange(0, 3).Draw(t, "key"),
			failures: rapid.SampledFrom([]int{0, 0, 0, 1, 2, 6}).Draw(t, "failures"),
			end:      rapid.SampledFrom([]string{"ok", "ok", "ok", "dead", "discard"}).Draw(t, "end"),
			panics:   rapid.Bool().Draw(t, "panics"),
			takes:    duration.Draw(t, "takes"),
			effects:  rapid.IntRange(0, 2).Draw(t, "effects"),
		}
	}), 1, 25).Draw(t, "fates")
	blows = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) blow {
		return blow{
			after: duration.Draw(t, "after"),
			kind:  rapid.SampledFrom([]string{"rebalance", "expel", "restart", "hold", "refuse", "lose confirms", "disconnect", "pause"}).Draw(t, "kind"),
			n:     rapid.IntRange(1, 4).Draw(t, "n"),
		}
	}), 0, 6).Draw(t, "blows")
	return fates, blows
}

// The runtime under random fates of messages and random blows, against what must
// hold whatever happens: every message ends as planned, none is lost, none of a
// key starts before its predecessor was decided, and the effects of each key
// come in order; in transactions, each once.
func TestWhateverHappensNothingIsLostOrReordered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fates, blows := drawPlan(rt)
		cumulative := rapid.Bool().Draw(rt, "cumulative")
		unsequenced := rapid.Bool().Draw(rt, "unsequenced")
		transactional := rapid.Bool().Draw(rt, "transactional")
		var h *history
		inWorld(t, memory.Config{Partitions: 2, CumulativeOnly: cumulative, Unsequenced: unsequenced}, func(w *world) {
			refused := slices.ContainsFunc(blows, func(b blow) bool { return b.kind == "refuse" })
			h = &history{
				w: w, fates: fates, tried: make([]int, len(fates)),
				ordered: transactional || unsequenced || !refused, transactional: transactional,
			}
			h.live(blows)
		})
		if fault := h.fault(); fault != "" {
			rt.Fatal(fault)
		}
	})
}

type history struct {
	w     *world
	fates []fate

	mu      sync.Mutex
	tried   []int
	running [4]bool
	decided [4]int // the highest index of the key that was decided, plus one
	faults  []string
	ordered bool // effects come in order: nothing is refused, or nothing sequenced

	transactional bool // effects come once

	out, dead []brokers.Message
	lag       int64
}

// policy keeps trying, so that no message is dead-lettered for its failures.
func (h *history) policy() supervision.Policy {
	return supervision.Policy{
		MaxAttempts: -1, Backoff: supervision.Exponential(100*time.Millisecond, 2*time.Second), DeadLetter: "dead",
		Rules: []supervision.Rule{supervision.On(errDead).DeadLetter(), supervision.On(errDiscard).Discard()},
	}
}

var errDead, errDiscard = errors.New("dead"), errors.New("discard")

func (h *history) live(blows []blow) {
	for i, f := range h.fates {
		h.w.send(brokers.Message{Topic: "in", ID: fmt.Sprint(i), Key: fmt.Appendf(nil, "key %d", f.key)})
	}
	h.start()
	for _, b := range blows {
		h.w.pass(b.after)
		h.strike(b)
	}
	h.w.pass(10 * time.Minute)
	h.out, h.dead = h.w.broker.Server().Messages("out"), h.w.broker.Server().Messages("dead")
	h.lag = h.w.broker.Server().Lag("g0", "in")
}

func (h *history) start() {
	h.w.startWith(actors.Config{DrainTimeout: time.Second}, actors.Subscription{
		Policy: h.policy(), Actor: actors.PerKey(func(string) *player { return &player{h} }), Transactional: h.transactional,
	})
}

func (h *history) strike(b blow) {
	server := h.w.broker.Server()
	switch b.kind {
	case "rebalance":
		server.Rebalance("g0")
	case "expel":
		for _, m := range server.Members("g0") {
			h.w.must(server.Expel("g0", m.Name))
		}
	case "restart":
		h.w.stop()
		h.start()
	case "hold":
		release := server.HoldPublishes()
		time.AfterFunc(time.Duration(b.n)*time.Second, release)
	case "refuse":
		server.FailPublishes(b.n, errors.New("refused"))
	case "lose confirms":
		server.LoseConfirms(b.n)
	case "disconnect":
		h.w.broker.Disconnect()
		time.AfterFunc(time.Duration(b.n)*time.Second, h.w.broker.Reconnect)
	case "pause":
		h.w.must(h.w.sys.Pause("g0"))
		sys := h.w.sys
		time.AfterFunc(time.Duration(b.n)*time.Second, func() { h.w.must(sys.Resume("g0")) })
	}
	synctest.Wait()
}

type player struct{ h *history }

func (p *player) Receive(ctx *actors.Context) error {
	var i int
	if _, err := fmt.Sscan(ctx.Event().ID, &i); err != nil {
		return err
	}
	f := p.h.fates[i]
	p.h.begins(i, f)
	err := p.h.attempt(ctx, i, f)
	p.h.ends(i, f, err)
	if f.panics && errors.Is(err, errFlaky) {
		panic(err)
	}
	return err
}

func (h *history) begins(i int, f fate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running[f.key] {
		h.faults = append(h.faults, fmt.Sprintf("message %d starts while its key runs", i))
	}
	h.running[f.key] = true
	for j := h.decided[f.key]; j < i; j++ {
		if h.fates[j].key == f.key {
			h.faults = append(h.faults, fmt.Sprintf("message %d starts before %d was decided", i, j))
		}
	}
}

func (h *history) attempt(ctx *actors.Context, i int, f fate) error {
	for n := range f.effects {
		if err := ctx.Publish("out", fmt.Appendf(nil, "%d.%d", i, n)); err != nil {
			return err
		}
	}
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tried[i] < f.failures {
		h.tried[i]++
		return errFlaky
	}
	return map[string]error{"dead": errDead, "discard": errDiscard}[f.end]
}

func (h *history) ends(i int, f fate, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[f.key] = false
	if err == nil || errors.Is(err, errDead) || errors.Is(err, errDiscard) {
		h.decided[f.key] = max(h.decided[f.key], i+1)
	}
}

// fault says what went wrong; "" if nothing did.
func (h *history) fault() string {
	if len(h.faults) > 0 {
		return fmt.Sprint(h.faults)
	}
	if h.lag != 0 {
		return fmt.Sprintf("%d messages are not acknowledged in the end", h.lag)
	}
	var out, dead [4][]string
	for i, f := range h.fates {
		switch f.end {
		case "ok":
			for n := range f.effects {
				out[f.key] = append(out[f.key], fmt.Sprintf("%d.%d", i, n))
			}
		case "dead":
			dead[f.key] = append(dead[f.key], fmt.Sprint(i))
		}
	}
	for key := range out {
		if !h.ordered {
			slices.Sort(out[key])
		}
		if got := h.firsts(h.out, key, func(m brokers.Message) string { return string(m.Payload) }, h.ordered); !slices.Equal(got, out[key]) {
			return fmt.Sprintf("key %d: effects %q, want %q", key, got, out[key])
		}
		if got := h.firsts(h.dead, key, originalID, true); !slices.Equal(got, dead[key]) {
			return fmt.Sprintf("key %d: dead letters %q, want %q", key, got, dead[key])
		}
	}
	return ""
}

// firsts are the messages of a key, without repeats if there may be any.
func (h *history) firsts(all []brokers.Message, key int, name func(brokers.Message) string, ordered bool) (names []string) {
	for _, m := range all {
		if string(m.Key) != fmt.Sprintf("key %d", key) {
			continue
		}
		if n := name(m); h.transactional || !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if !ordered {
		slices.Sort(names)
	}
	return names
}

func originalID(m brokers.Message) string {
	original, _, err := supervision.Decode(&m)
	if err != nil {
		return err.Error()
	}
	return original.ID
}
