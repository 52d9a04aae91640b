package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/troupe-go/troupe/brokers"
)

// Partitions and keys of every run are few, so that each sees much.
const (
	Partitions       = 6
	keysPerPartition = 4
)

// patience bounds waits for which no bound was promised.
const patience = 30 * time.Second

// longPatience is for what a long run has piled up.
const longPatience = 5 * time.Minute

// field is where one test takes place: a topic and a group of its own, a
// workload, members, and the journal that they write.
type field struct {
	*testing.T
	targetName string
	target     Target
	began      time.Time
	log        *zap.Logger
	toxiproxy  *toxiproxy    // nil if there is none
	service    service       // zero if the server may not be hurt
	longRun    time.Duration // 0 unless CHAOS_LONG is set

	topic   string
	group   string
	effects string         // the topic to which handlers publish
	direct  brokers.Broker // never broken
	journal *journal
	progress

	sender    *link // the workload's
	workload  *workload
	halt      func() // ends the publishing
	members   []*member
	processes []*process
	named     int
}

// newField connects to the server and makes the topic.
func newField(t *testing.T, name string, target Target) *field {
	t.Helper()
	id := uuid.NewString()[:8]
	f := &field{
		T: t, targetName: name, target: target.withDefaults(t), began: time.Now(),
		topic: "chaos-" + id, group: "group-" + id, effects: "effects-" + id,
		log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)),
	}
	if api := os.Getenv("TEST_TOXIPROXY_URL"); api != "" {
		f.toxiproxy = newToxiproxy(api)
	}
	if script := os.Getenv("TEST_SERVICES"); script != "" && target.Service != "" {
		f.service = service{script: script, name: target.Service}
	}
	if text := os.Getenv("CHAOS_LONG"); text != "" {
		var err error
		f.longRun, err = time.ParseDuration(text)
		f.ok(err)
	}
	f.openJournal()
	f.direct = f.open(f.target.Address)
	for _, topic := range []string{f.topic, f.effects} {
		f.ok(f.direct.EnsureTopic(f.Context(), brokers.TopicConfig{
			Name: topic, Partitions: Partitions, Groups: []string{f.group},
		}))
	}
	return f
}

func (f *field) openJournal() {
	f.Helper()
	path := filepath.Join(f.ArtifactDir(), "journal.jsonl")
	var err error
	f.journal, err = openJournal(path)
	f.ok(err)
	f.progress = progress{handled: map[message]bool{}, fresh: map[int32]int64{}, by: map[owner]int64{}}
	f.progress.reader, err = openReader(path)
	f.ok(err)
	f.Cleanup(func() { f.noErr(errors.Join(f.journal.close(), f.progress.reader.close())) })
}

// ok ends the test on an error.
func (f *field) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// noErr fails the test on an error, and goes on.
func (f *field) noErr(err error) {
	f.Helper()
	if err != nil {
		f.Error(err)
	}
}

// note writes down what the test itself does.
func (f *field) note(kind Kind, what string) {
	f.Helper()
	f.ok(f.journal.write(Record{Kind: kind, Note: what}))
}

// pass lets time go by.
func (f *field) pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// await polls until is says true.
func (f *field) await(what string, bound time.Duration, is func() bool) {
	f.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	limit := time.NewTimer(bound)
	defer limit.Stop()
	for !is() {
		select {
		case <-poll.C:
		case <-limit.C:
			f.Fatalf("%s: not within %v; %s", what, bound, f.situation())
		}
	}
}

// situation is what a failed wait needs to have told.
func (f *field) situation() string {
	var b strings.Builder
	for _, m := range f.members {
		fmt.Fprintf(&b, "member %q: %+v; ", m.name, m.health())
	}
	f.update()
	fmt.Fprintf(&b, "%d messages handled, %d confirmed and not", len(f.handled), f.workload.unhandled(f.handled))
	return b.String()
}
