package actortest

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// ExpectCommitted expects that the group's low-water mark at the broker comes to
// be offset: that message and all before it are acknowledged, the next one is
// not. brokers.NoOffset is none. It speaks of partition 0 of the subscription's
// first topic unless [Scope.Partition] says otherwise.
func (s Scope) ExpectCommitted(offset int64) {
	s.story.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.within)
	defer cancel()
	// The error says that the mark is not reached, which mark says as well.
	_ = s.server.Await(ctx, func() bool { return s.mark() >= offset })
	synctest.Wait()
	if mark := s.mark(); mark != offset {
		s.story.failed(nil, fmt.Sprintf("offset %d", mark), fmt.Sprintf("%s/%d committed to offset %d", s.topic, s.partitionID(), offset))
	}
}

func (s Scope) partitionID() int32 {
	if s.partition == nil {
		return 0
	}
	return *s.partition
}

// mark is the last offset of the prefix that is acknowledged.
func (s Scope) mark() int64 {
	p, err := s.server.Progress(s.group, s.topic, s.partitionID())
	if err != nil {
		return brokers.NoOffset // the group has not met the topic
	}
	return p.Position - 1
}

// ExpectQuiet expects that for a while nothing happens in the scope but logging.
func (s Scope) ExpectQuiet(d time.Duration) {
	s.story.t.Helper()
	synctest.Wait()
	from := s.story.len()
	pass(d)
	broken := s.story.all(from, func(e *entry) bool {
		_, isLog := e.what.(observer.LoggedEntry)
		return !isLog && s.covers(e)
	})
	if len(broken) > 0 {
		s.story.fail(broken[0], d, fmt.Sprintf("nothing%s for %v", s.whose(), d))
	}
}

// ExpectKeyOrder expects of everything until now that the messages of each key
// were decided in the order of their partition: handled, dead-lettered or
// discarded. Each epoch counts by itself, as a new one repeats what was not
// acknowledged.
func (s Scope) ExpectKeyOrder() {
	s.story.t.Helper()
	synctest.Wait()
	type lane struct {
		topic, key string
		partition  int32
		epoch      uint64
	}
	last := make(map[lane]int64)
	for _, e := range s.story.all(0, s.covers) {
		p, ok := decided(e.what)
		if !ok {
			continue
		}
		at := lane{p.Topic, string(e.key), p.Partition, p.Epoch}
		before, known := last[at]
		if known && p.Offset <= before {
			s.story.fail(e, 0, fmt.Sprintf("messages of key %q in order, and this one is behind offset %d", e.key, before))
		}
		last[at] = p.Offset
	}
}

// decided is where a message lies that an event has decided.
func decided(what any) (p actors.Place, ok bool) {
	switch w := what.(type) {
	case actors.Handled:
		return w.Place, true
	case actors.DeadLettered:
		return w.Place, true
	case actors.Discarded:
		return w.Place, true
	}
	return p, false
}
