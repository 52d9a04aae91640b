package sagas

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Memory is a [Store] within the process, for tests. The zero value is ready.
type Memory struct {
	// Publish, if set, is given what is to be published, in order. It stands for
	// a relay, must be quick, and is called under the store's lock.
	Publish func([]brokers.Message)

	mu      sync.Mutex
	records map[name]*kept
	handled map[name]time.Time // by the message's id
	seats   map[name]uint64    // epochs, by the runner's name
	early   []Early
}

var _ Store = (*Memory)(nil)

// name is an id within a definition.
type name struct{ definition, id string }

type kept struct {
	record  Record
	log     []Entry
	claimed time.Time // until
}

func (m *Memory) init() {
	if m.records == nil {
		m.records, m.handled, m.seats = make(map[name]*kept), make(map[name]time.Time), make(map[name]uint64)
	}
}

func (m *Memory) publish(messages []brokers.Message) {
	if m.Publish != nil && len(messages) > 0 {
		m.Publish(messages)
	}
}

// Sit implements [Store].
func (m *Memory) Sit(_ context.Context, definition, runner string) (Seat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	m.seats[name{definition, runner}]++
	return Seat{definition, runner, m.seats[name{definition, runner}]}, nil
}

// Commit implements [Store].
func (m *Memory) Commit(_ context.Context, by Seat, units []Unit) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	if by.Epoch == 0 || m.seats[name{by.Definition, by.Name}] != by.Epoch {
		return nil, ErrFenced
	}
	verdicts := make([]error, len(units))
	for i := range units {
		verdicts[i] = m.commit(&units[i])
	}
	return verdicts, nil
}

func (m *Memory) commit(u *Unit) error {
	n, message := name{u.Record.Definition, u.Record.ID}, name{u.Record.Definition, u.Handled}
	if _, repeat := m.handled[message]; repeat && u.Handled != "" {
		return ErrRepeat
	}
	k := m.records[n]
	switch {
	case k == nil && u.Record.Revision != 0, k != nil && k.record.Revision != u.Record.Revision:
		return ErrConflict
	case k == nil:
		k = &kept{}
		m.records[n] = k
	}
	k.record = u.Record
	k.record.Revision++
	k.claimed = time.Time{}
	k.log = append(k.log, u.Log...)
	if u.Handled != "" {
		m.handled[message] = u.Record.Changed
		m.forget(n.definition, u.Handled)
	}
	m.publish(u.Messages)
	return nil
}

// forget drops an early reply.
func (m *Memory) forget(definition, message string) {
	m.early = slices.DeleteFunc(m.early, func(e Early) bool { return e.Definition == definition && e.Message.ID == message })
}

// Writers implements [Store].
func (*Memory) Writers() int { return 1 }

// Load implements [Store].
func (m *Memory) Load(_ context.Context, definition, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.records[name{definition, id}]
	if k == nil {
		return Record{}, ErrNotFound
	}
	return k.record, nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, definition string, q Selection) (found []Record, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, k := range m.records {
		if n.definition == definition && n.id > q.After && (q.Owner == "" || k.record.Owner == q.Owner) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, k.record.Status)) &&
			(len(q.Versions) == 0 || slices.Contains(q.Versions, k.record.Version)) {
			found = append(found, k.record)
		}
	}
	slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
	return found[:min(len(found), cmp.Or(q.Limit, defaultLimit))], nil
}

// Timeline implements [Store].
func (m *Memory) Timeline(_ context.Context, definition, id string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.records[name{definition, id}]
	if k == nil {
		return nil, ErrNotFound
	}
	return slices.Clone(k.log), nil
}

// InFlight implements [Store].
func (m *Memory) InFlight(_ context.Context, definition string) (map[int]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := make(map[int]int64)
	for n, k := range m.records {
		if n.definition == definition && !k.record.Status.Ended() {
			counts[k.record.Version]++
		}
	}
	return counts, nil
}

// Claim implements [Store].
func (m *Memory) Claim(_ context.Context, definition string, now time.Time, lease time.Duration, n int) (due []Record, next time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*kept
	for name, k := range m.records {
		if name.definition == definition && !k.record.Due().IsZero() {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *kept) int { return a.record.Due().Compare(b.record.Due()) })
	for _, k := range all {
		at := k.record.Due()
		if k.claimed.After(at) {
			at = k.claimed
		}
		if len(due) < n && !at.After(now) {
			k.claimed = now.Add(lease)
			due = append(due, k.record)
			at = k.claimed
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return due, next, nil
}

// Keep implements [Store].
func (m *Memory) Keep(_ context.Context, early Early, limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	if _, repeat := m.handled[name{early.Definition, early.Message.ID}]; repeat {
		return nil
	}
	kept := 0
	for _, e := range m.early {
		if e.Definition != early.Definition {
			continue
		}
		if e.Message.ID == early.Message.ID {
			return nil
		}
		kept++
	}
	if kept >= limit {
		return ErrFull
	}
	m.early = append(m.early, early)
	return nil
}

// Kept implements [Store].
func (m *Memory) Kept(_ context.Context, definition string, before time.Time, n int) (found []Early, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.early {
		e.Found = m.records[name{e.Definition, e.ID}] != nil
		if e.Definition == definition && (e.Found || e.At.Before(before)) && len(found) < n {
			found = append(found, e)
		}
	}
	return found, nil
}

// Discard implements [Store].
func (m *Memory) Discard(_ context.Context, early Early, instead ...brokers.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(early.Definition, early.Message.ID)
	m.publish(instead)
	return nil
}

// Prune implements [Store].
func (m *Memory) Prune(_ context.Context, definition string, before time.Time) (forgotten int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, k := range m.records {
		if n.definition == definition && k.record.Status.Ended() && k.record.Changed.Before(before) {
			delete(m.records, n)
			forgotten++
		}
	}
	for n, at := range m.handled {
		if n.definition == definition && at.Before(before) {
			delete(m.handled, n)
		}
	}
	return forgotten, nil
}

// defaultLimit is that of a [Selection].
const defaultLimit = 100
