package durable

import (
	"context"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// Memory is a Store within the process, for tests. The zero value is ready.
type Memory struct {
	// Before, if set, is called at the start of each Commit; its error is the
	// Commit's. It may block. Set it before the store is used.
	Before func(units []Unit) error
	// Publish, if set, is given what units publish, in order. It stands for a
	// relay, must be quick, and is called under the store's lock.
	Publish func([]brokers.Message)

	mu       sync.Mutex
	tokens   map[Scope]uint64
	records  map[home]Record
	handled  map[handled]bool
	commits  int
	messages []brokers.Message
}

// home is where a state belongs.
type home struct{ group, topic, key string }

// handled is a message known to a group.
type handled struct{ group, id string }

var _ Store = (*Memory)(nil)

// Acquire implements [Store].
func (m *Memory) Acquire(_ context.Context, scope Scope) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens, m.records, m.handled = make(map[Scope]uint64), make(map[home]Record), make(map[handled]bool)
	}
	m.tokens[scope]++
	return m.tokens[scope], nil
}

// Load implements [Store].
func (m *Memory) Load(_ context.Context, scope Scope, key string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[home{scope.Group, scope.Topic, key}]
	r.State = slices.Clone(r.State)
	return r, nil
}

// Commit implements [Store].
func (m *Memory) Commit(_ context.Context, units []Unit) error {
	if m.Before != nil {
		if err := m.Before(units); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(units); err != nil {
		return err
	}
	for i := range units {
		u := &units[i]
		m.records[home{u.Scope.Group, u.Scope.Topic, u.Key}] = Record{u.Revision + 1, u.Version, slices.Clone(u.State)}
		for _, id := range u.Handled {
			m.handled[handled{u.Scope.Group, id}] = true
		}
		m.messages = append(m.messages, u.Messages...)
		if m.Publish != nil && len(u.Messages) > 0 {
			m.Publish(u.Messages)
		}
	}
	if len(units) > 0 {
		m.commits++
	}
	return nil
}

// Writers implements [Store]: as with a database, there may be two in Before.
func (*Memory) Writers() int { return 2 }

func (m *Memory) check(units []Unit) error {
	for i := range units {
		if u := &units[i]; m.tokens[u.Scope] != u.Token {
			return &FencedError{u.Scope}
		}
	}
	repeated := make(map[string][]string) // by group
	for i := range units {
		group := units[i].Scope.Group
		for _, id := range units[i].Handled {
			if m.handled[handled{group, id}] {
				repeated[group] = append(repeated[group], id)
			}
		}
	}
	for group, ids := range repeated {
		return &DuplicateError{Group: group, IDs: ids}
	}
	for i := range units {
		u := &units[i]
		if m.records[home{u.Scope.Group, u.Scope.Topic, u.Key}].Revision != u.Revision {
			return ErrConflict
		}
	}
	return nil
}

// Commits is how many transactions there were.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// Messages are those that were published so far.
func (m *Memory) Messages() []brokers.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}
