package memory

import (
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/staging"
)

// transactAgain is how long a transaction waits that the server refused.
const transactAgain = 50 * time.Millisecond

// stager is an epoch of a subscription that is Transactional.
type stager struct{ *epoch }

var _ brokers.Stager = stager{}

// stage is what an epoch has staged. It is guarded by acks.mu.
type stage struct {
	on     bool
	buffer staging.Buffer
	topics map[string]*topic // those of staged messages; nil if there is none
	upTo   int64             // acknowledged
}

func newStage(cfg brokers.SubscriptionConfig) stage {
	return stage{
		on: cfg.Transactional, upTo: brokers.NoOffset, topics: map[string]*topic{},
		buffer: staging.Buffer{Most: cfg.MaxStaged, MostBytes: cfg.MaxStagedBytes},
	}
}

// Stage implements [brokers.Stager].
func (s stager) Stage(offset int64, messages ...brokers.Message) error {
	s.acks.mu.Lock()
	defer s.acks.mu.Unlock()
	st := &s.acks.stage
	switch {
	case s.acks.ended != nil:
		return s.acks.ended
	case offset <= st.upTo:
		return fmt.Errorf("%w: offset %d was acknowledged, up to %d", brokers.ErrInvalid, offset, st.upTo)
	}
	st.buffer.Add(offset, messages)
	for i := range messages {
		if _, known := st.topics[messages[i].Topic]; !known {
			st.topics[messages[i].Topic] = nil
		}
	}
	return nil
}

// Full implements [brokers.Stager].
func (s stager) Full() bool { return s.full() }

func (e *epoch) full() bool {
	e.acks.mu.Lock()
	defer e.acks.mu.Unlock()
	return e.acks.stage.on && e.acks.stage.buffer.Full()
}

// route looks for the topics of what is staged, which must not be done under
// acks.mu.
func (e *epoch) route() {
	var missing []string
	e.acks.mu.Lock()
	for name, t := range e.acks.stage.topics {
		if t == nil {
			missing = append(missing, name)
		}
	}
	e.acks.mu.Unlock()
	for _, name := range missing {
		t, err := e.server().topicToPublish(name)
		if err != nil {
			continue // which refuses the transaction
		}
		e.acks.mu.Lock()
		e.acks.stage.topics[name] = t
		e.acks.mu.Unlock()
	}
}

// transact stores what was staged for messages up to an offset, which is then
// acknowledged. If the server takes not all of it, nothing is stored, and it
// returns false. It needs acks.mu.
func (e *epoch) transact(upTo int64) bool {
	st := &e.acks.stage
	if held, _ := e.server().faults.publishes.state(); held != nil {
		return false
	}
	messages := st.buffer.Below(upTo + 1)
	choose := brokers.ByKey(brokers.MessageKey)
	for i := range messages {
		m := &messages[i]
		t := st.topics[m.Topic]
		if t == nil || e.server().refusal(m) != nil {
			return false
		}
		id, err := choose.Partition(m, len(t.logs))
		if err != nil {
			return false
		}
		m.Partition = id
	}
	now := time.Now()
	for i := range messages {
		m := &messages[i]
		st.topics[m.Topic].logs[m.Partition].append([]*brokers.Message{m}, now)
	}
	st.buffer.Drop(upTo + 1)
	st.upTo = max(st.upTo, upTo)
	return true
}
