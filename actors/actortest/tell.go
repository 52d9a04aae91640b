package actortest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

const (
	// lastLines is how much of the story a failure tells.
	lastLines = 60
	// longest is how much of a payload a line shows, in bytes.
	longest = 160
)

// String tells the story: a line for each thing that happened, with the virtual
// time since the beginning. Log lines below the level Info are left out.
func (s *story) String() string {
	var b strings.Builder
	for _, line := range lines(s.all(0, worthTelling)) {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func worthTelling(e *entry) bool {
	line, isLog := e.what.(observer.LoggedEntry)
	return !isLog || line.Level >= zapcore.InfoLevel
}

// fail ends the test. got is the entry that disappoints; nil if none came.
func (s *story) fail(got *entry, limit time.Duration, want string) {
	s.t.Helper()
	seen := fmt.Sprintf("nothing of the kind within %v", limit)
	if got != nil {
		seen = got.tell()
	}
	s.failed(got, seen, want)
}

// failed ends the test, and says in words what was seen.
func (s *story) failed(got *entry, seen, want string) {
	s.t.Helper()
	told := s.all(0, worthTelling)
	var b strings.Builder
	first := max(0, len(told)-lastLines)
	if first > 0 {
		fmt.Fprintf(&b, "\n  ... %d more before ...", first)
	}
	for i, line := range lines(told)[first:] {
		mark := " "
		switch e := told[first+i]; {
		case e == got:
			mark = ">"
		case e.taken:
			mark = "-"
		}
		b.WriteString("\n" + mark + " " + line)
	}
	s.t.Fatalf("expected: %s\n     got: %s\nwhat happened (- was expected before, > was not):%s", want, seen, b.String())
}

// lines tells each of the entries in a line.
func lines(entries []*entry) []string {
	groups := make(map[string]bool)
	width := 2
	for _, e := range entries {
		width = max(width, len(e.at.String()))
		if e.group != "" {
			groups[e.group] = true
		}
	}
	told := make([]string, len(entries))
	for i, e := range entries {
		told[i] = fmt.Sprintf("%*v  %s", width, e.at, e.tell())
		if len(groups) > 1 && e.group != "" {
			told[i] += fmt.Sprintf(" (group %s)", e.group)
		}
	}
	return told
}

// tell is the entry in a line.
func (e *entry) tell() string {
	verb, about := e.words()
	return strings.TrimRight(fmt.Sprintf("%-13s %s", verb, about), " ")
}

func (e *entry) words() (verb, about string) {
	switch w := e.what.(type) {
	case published:
		return "published", messageAt(e.message) + ": " + payload(e.message)
	case unpublished:
		return "not published", fmt.Sprintf("%s %s: %v", e.topic, payload(e.message), w.err)
	case redelivered:
		return "redelivered", messageAt(e.message)
	case acked:
		return "acknowledged", messageAt(e.message)
	case actors.Handled:
		return "handled", at(w.Place) + attempt(w.Attempt)
	case actors.Retried:
		return "retried", fmt.Sprintf("%s: attempt %d failed: %v; next in %v", at(w.Place), w.Attempt, w.Failure.Err, w.After)
	case actors.Parked:
		return "parked", fmt.Sprintf("%s: attempt %d failed: %v; next in %v", at(w.Place), w.Attempt, w.Failure.Err, w.After)
	case actors.DeadLettered:
		return "dead-lettered", fmt.Sprintf("%s: %s: %v", at(w.Place), w.Reason, w.Failure.Err)
	case actors.Discarded:
		return "discarded", fmt.Sprintf("%s: %s: %v", at(w.Place), w.Reason, w.Failure.Err)
	case actors.ChildSpawned:
		return "spawned", fmt.Sprintf("%q by key %q", w.Name, w.Key)
	case actors.PartitionAssigned:
		return "assigned", fmt.Sprintf("%s/%d, epoch %d", w.Topic, w.Partition, w.Epoch)
	case actors.PartitionRevoked:
		return "revoked", fmt.Sprintf("%s/%d, epoch %d; %d given back", w.Topic, w.Partition, w.Epoch, w.GivenBack)
	case actors.PartitionLost:
		return "lost", fmt.Sprintf("%s/%d, epoch %d; %d given back", w.Topic, w.Partition, w.Epoch, w.GivenBack)
	case actors.Overflowed:
		return "overflowed", fmt.Sprintf("%s: %s, key given up: %t", at(w.Place), w.Limit, w.GivenUp)
	case actors.Suspended:
		return "suspended", fmt.Sprintf("%v", w.Err)
	case actors.Resumed:
		return "resumed", ""
	case actors.Event:
		return "event", fmt.Sprintf("%T %+v", w, w)
	case letter:
		return "letter", fmt.Sprintf("to %s from %s: %s", w.to, sender(w.sender), value(w.value))
	case undelivered:
		return "undelivered", fmt.Sprintf("to %s: %s", w.to, value(w.value))
	case observer.LoggedEntry:
		return "logged", fmt.Sprintf("%s: %s", w.Level, w.Message)
	case crashed:
		return "crashed", ""
	case ended:
		return "stopped", fmt.Sprintf("%v; error: %v", w.report, w.err)
	}
	return "unknown", fmt.Sprintf("%T", e.what)
}

func at(p actors.Place) string {
	if p.Offset == brokers.NoOffset {
		return fmt.Sprintf("%s/%d", p.Topic, p.Partition)
	}
	return spotText(p.Topic, p.Partition, p.Offset, p.Key)
}

func messageAt(m *brokers.Message) string { return spotText(m.Topic, m.Partition, m.Offset, m.Key) }

func spotText(topic string, partition int32, offset int64, key []byte) string {
	place := fmt.Sprintf("%s/%d@%d", topic, partition, offset)
	if key != nil {
		place += fmt.Sprintf(" %q", key)
	}
	return place
}

func attempt(n int) string {
	if n == 1 {
		return ""
	}
	return " by attempt " + strconv.Itoa(n)
}

// payload is what of a message's payload fits a line.
func payload(m *brokers.Message) string {
	if m.Payload == nil {
		return "tombstone"
	}
	cut, more := m.Payload, ""
	if len(cut) > longest {
		cut, more = cut[:longest], fmt.Sprintf("... (%d bytes)", len(m.Payload))
	}
	if utf8.Valid(m.Payload) && !strings.ContainsFunc(string(m.Payload), unicode.IsControl) {
		return string(cut) + more
	}
	return fmt.Sprintf("%q%s", cut, more)
}

// value is a value with its type.
func value(v any) string {
	switch v := v.(type) {
	case brokers.Message:
		return messageAt(&v) + ": " + payload(&v)
	case []byte:
		return strconv.Quote(string(v))
	case *actor.Terminated:
		return "*actor.Terminated of " + v.Who.GetId()
	case error:
		return fmt.Sprintf("%T %q", v, v.Error())
	}
	return fmt.Sprintf("%T %+v", v, v)
}

func sender(pid *actor.PID) string {
	if pid == nil {
		return "nobody"
	}
	return pid.Id
}
