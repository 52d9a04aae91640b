package actors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrNoID is the failure of a message without an id at a durable actor: a repeat
// of it could not be told. It is permanent.
var ErrNoID = errors.New("actors: message has no id, which a durable actor needs")

// StateError says that a key's stored state cannot be read. Its key is parked,
// and the state stays as it is. Deploy a program that can read it.
type StateError struct {
	Key     string
	Version int // of the stored state
	Err     error
}

// Error names the key and the version.
func (e *StateError) Error() string {
	return fmt.Sprintf("actors: stored state of key %q, version %d: %v", e.Key, e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *StateError) Unwrap() error { return e.Err }

// Durability is how the state of [Durable] actors is kept.
type Durability struct {
	// Store keeps the states, of one database. Required.
	Store durable.Store
	// Version is that of the state's form. Defaults to 1.
	Version int
	// Migrate brings an encoded state from the version that is the key to the
	// next one. A missing step is a [StateError] of the keys that need it.
	Migrate map[int]func(old []byte) ([]byte, error)
	// Encode and Decode turn an actor's state into bytes and back; Decode is given
	// a new actor. They default to JSON, which keeps exported fields only.
	Encode func(actor any) ([]byte, error)
	Decode func(state []byte, actor any) error
	// MaxGroup is how many messages a transaction may commit. Defaults to 200.
	MaxGroup int
}

func (d Durability) withDefaults() *Durability {
	d.Version = orDefault(d.Version, 1)
	d.MaxGroup = orDefault(d.MaxGroup, 200)
	if d.Encode == nil {
		d.Encode = json.Marshal
	}
	if d.Decode == nil {
		d.Decode = json.Unmarshal
	}
	return &d
}

func (d *Durability) validate(fault func(field, format string, args ...any)) {
	if d.Store == nil {
		fault("Actor", "Durability.Store is required")
	}
	if d.Version < 0 {
		fault("Actor", "Durability.Version is negative")
	}
	if d.MaxGroup < 0 {
		fault("Actor", "Durability.MaxGroup is negative")
	}
}

// Durable handles each key with an actor of its own whose state is stored: it is
// loaded when the key's first message comes, and committed with the ids of the
// messages that it has handled and with what it published, in one transaction.
// So a message changes the state once, however often it is delivered, and what
// Publish staged goes out once the state is stored, through the store's outbox.
//
// A message is acknowledged, and letters, answers and timers that its handling
// staged go out, when the transaction has been committed. Many keys share one
// transaction. If it fails, its actors are dropped, and it is tried again in
// halves; what fails alone is judged by the policy, as a fault of the message if
// the store can be reached, else of the infrastructure.
//
// Handlers are those of [PerKey], and [OnWithTx] for those that write to tables of
// their own; but there is nothing to start or to stop:
// [Starter] and [Stopper] are not called. One that returns an error or panics
// leaves no trace in the state, whatever it did to the actor before. Messages need
// an id ([ErrNoID]) and a key ([ErrNoKey]); Stash is not available. A state that
// cannot be read parks its key ([StateError]).
func Durable[A any](newActor func(key string) *A, d Durability) *Blueprint[A] {
	b := PerKey(newActor)
	r := b.plan.routes
	b.plan.durable = d.withDefaults()
	b.plan.starts, b.plan.stops = false, false
	b.plan.make = func(key string) any {
		return &state{key: key, fresh: func() any { return newActor(key) }}
	}
	b.plan.receive = func(instance any, ctx *Context) error {
		return instance.(*state).receive(r, ctx)
	}
	return b
}

// state is the instance of a durable key.
type state struct {
	key      string
	fresh    func() any // a new actor
	actor    any        // nil after a failed attempt
	encoded  []byte     // the state after the last attempt that did not fail; nil if there is none
	revision uint64     // stored
	changed  bool       // by the last attempt
}

// load reads the key's state.
func (s *state) load(ctx *Context) error {
	d := ctx.region.sub.plan.durable
	record, err := d.Store.Load(ctx.Base(), ctx.region.scope, s.key)
	if err != nil {
		return fmt.Errorf("load the state: %w", err)
	}
	s.revision = record.Revision
	if record.Revision == 0 {
		s.actor = s.fresh()
		return nil
	}
	if s.encoded, err = d.migrate(record); err == nil {
		err = s.restore(d)
	}
	if err != nil {
		return &StateError{Key: s.key, Version: record.Version, Err: err}
	}
	return nil
}

func (d *Durability) migrate(r durable.Record) (encoded []byte, err error) {
	encoded = r.State
	if r.Version > d.Version {
		return nil, fmt.Errorf("is newer than this program's, %d", d.Version)
	}
	for v := r.Version; v < d.Version; v++ {
		step := d.Migrate[v]
		if step == nil {
			return nil, fmt.Errorf("no migration from version %d", v)
		}
		if encoded, err = step(encoded); err != nil {
			return nil, fmt.Errorf("migration from version %d: %w", v, err)
		}
	}
	return encoded, nil
}

// restore makes the actor of its encoded state.
func (s *state) restore(d *Durability) error {
	actor := s.fresh()
	if s.encoded != nil {
		if err := d.Decode(s.encoded, actor); err != nil {
			return err
		}
	}
	s.actor = actor
	return nil
}

// receive handles an item with the actor. What a failed attempt did to it is
// undone by making it anew.
func (s *state) receive(r *routes, ctx *Context) error {
	d := ctx.region.sub.plan.durable
	if m := ctx.Event(); m != nil && m.ID == "" {
		return supervision.Permanent(ErrNoID)
	}
	if s.actor == nil {
		if err := s.restore(d); err != nil {
			return &StateError{Key: s.key, Version: d.Version, Err: err}
		}
	}
	done := false
	defer func() {
		if !done {
			s.actor = nil
		}
	}()
	if err := r.receive(s.actor, ctx); err != nil {
		return err
	}
	encoded, err := d.Encode(s.actor)
	if err != nil {
		return supervision.Permanent(fmt.Errorf("actors: encode the state of key %q: %w", s.key, err))
	}
	s.changed = !bytes.Equal(s.encoded, encoded)
	s.encoded, done = encoded, true
	return nil
}

// unit is what a turn of a durable key has led to, on its way to the store.
type unit struct {
	durable.Unit

	region  *region
	turn    turn
	effects []effects
	writes  bool // there is something to commit
}

// handled says whether a message of that id led to the unit.
func (u *unit) handled(id string) bool { return slices.Contains(u.Handled, id) }

// effects are what one item staged besides messages.
type effects struct {
	item    *item
	attempt int
	took    time.Duration
	staged  staged
}

// stage adds what an item has led to, to the turn's unit. Nothing goes out before
// the unit is committed.
func (r *region) stage(w *worker, it *item) {
	t, c := &w.turn, w.ctx
	s := t.cell.value.(*state)
	if t.unit == nil {
		t.unit = &unit{region: r, writes: s.changed, Unit: durable.Unit{
			Scope: r.scope, Token: r.token, Key: t.cell.key, Revision: s.revision, Version: r.sub.plan.durable.Version,
		}}
	}
	u := t.unit
	u.State = s.encoded
	if it.message != nil {
		u.Handled = append(u.Handled, it.message.ID)
	}
	u.writes = u.writes || s.changed || it.message != nil || len(c.staged.messages) > 0
	u.Messages = append(u.Messages, withIDs(c.staged.takeMessages())...)
	t.leave = t.leave || c.staged.passivate
	e := effects{item: it, attempt: c.attempt, took: t.took}
	e.staged.letters = append(e.staged.letters, c.staged.letters...)
	e.staged.timers = append(e.staged.timers, c.staged.timers...)
	u.effects = append(u.effects, e)
}

// withIDs gives those an id that have none, as letters' effects: it must be the
// same in each attempt to publish it.
func withIDs(messages []brokers.Message) []brokers.Message {
	for i := range messages {
		if messages[i].ID == "" {
			messages[i].ID = uuid.NewString()
		}
	}
	return messages
}

// committed carries out what was staged, and books the turn.
func (u *unit) committed() {
	r := u.region
	if u.writes {
		u.turn.cell.value.(*state).revision = u.Revision + 1
	}
	ctx := newContext(r, u.turn.cell, &noItem)
	for i := range u.effects {
		e := &u.effects[i]
		ctx.item, ctx.attempt, ctx.staged = e.item, e.attempt, e.staged
		r.deliverLetters(ctx)
		r.changeTimers(ctx)
		if e.item.message != nil {
			r.observe(func() Event { return Handled{r.place(e.item), e.attempt, e.took} })
		}
	}
	u.concluded()
}

// repeated has the unit's messages handled again without those that the group
// has handled before.
func (u *unit) repeated(known map[string]bool) {
	it := u.turn.chain
	for n := u.turn.handled; n > 0; n-- {
		if it.message != nil && known[it.message.ID] {
			it.known = true
		}
		it = it.next
	}
	u.drop()
	u.concluded()
}

// refused puts the unit's messages back after a commit that failed on its own.
// If there are several, and the store is not at fault, they are handled one by
// one to find the culprit.
func (u *unit) refused(err error, store bool) {
	u.drop()
	r, t := u.region, &u.turn
	it := t.chain
	if store {
		err = supervision.Infrastructure(err)
	}
	switch {
	case !store && len(u.effects) > 1 && !t.cell.single:
		t.cell.single = true
	case it.letter != nil:
		r.failLetter(t, it.letter, err)
		t.handled = 1
	default:
		r.judge(t, it, t.cell.attempt(), err)
	}
	u.concluded()
}

// fenced gives the partition up: it has another owner.
func (u *unit) fenced(err error) {
	u.drop()
	u.region.log.Warn("partition given up: its states have a newer owner", zap.Error(err))
	u.region.stops.Or(stopEnding)
	u.region.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, err))
	u.concluded()
}

// drop forgets what the turn did. The actor's state is loaded again.
func (u *unit) drop() {
	t := &u.turn
	u.region.finishInstance(t.cell)
	t.handled, t.failed, t.discarded, t.leave = 0, false, true, false
}

// concluded books the turn.
func (u *unit) concluded() {
	r := u.region
	r.mu.Lock()
	r.deciding--
	r.committing--
	after := r.conclude(&u.turn, r.now())
	r.spawn()
	if r.deciding == 0 {
		signal(r.quiet)
	}
	r.mu.Unlock()
	if after != nil {
		after()
	}
}
