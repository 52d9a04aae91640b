package deadletters_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
	"github.com/troupe-go/troupe/supervision/deadletters"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a broker with dead letters, in virtual time.
type bench struct {
	*testing.T

	broker *memory.Broker
	begun  time.Time
}

var errNoStock, errVoid = errors.New("no stock"), &voidError{}

type voidError struct{}

func (*voidError) Error() string { return "order is void" }

// inBench runs f with a broker. Letters lie in one partition unless cfg says
// otherwise.
func inBench(t *testing.T, cfg memory.Config, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Partitions == 0 {
			cfg.Partitions = 1
		}
		b := &bench{T: t, broker: memory.New(cfg), begun: time.Now()}
		defer func() { b.must(b.broker.Close()) }()
		f(b)
	})
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// bury publishes a dead letter of a message, with the id of its text.
func (b *bench) bury(topic, key, id string, err error) {
	b.Helper()
	m := brokers.Message{Topic: topic, Key: []byte(key), ID: id, Payload: []byte("payload of " + id), Headers: brokers.Headers{{Key: "h", Value: []byte{0, 255}}}}
	l := supervision.NewLetter(supervision.Failure{Err: err, Attempt: 3, FirstAt: time.Now(), At: time.Now()}, supervision.Verdict{Kind: supervision.DeadLetter, Reason: "gave up"})
	b.send(supervision.Encode(&m, l, "dead"))
}

func (b *bench) send(messages ...brokers.Message) {
	b.Helper()
	p, err := b.broker.Publisher(brokers.PublisherConfig{})
	b.must(err)
	_, err = p.Publish(b.Context(), messages...)
	b.must(err)
	b.must(p.Close(b.Context()))
}

func (b *bench) open() *deadletters.Desk {
	b.Helper()
	d, err := deadletters.Open(b.Context(), deadletters.Config{Broker: b.broker, Topic: "dead"})
	b.must(err)
	return d
}

func (b *bench) close(d *deadletters.Desk) {
	b.Helper()
	b.must(d.Close(b.Context()))
}

// left are the ids of the letters that a new desk finds.
func (b *bench) left() []string {
	b.Helper()
	d := b.open()
	defer b.close(d)
	return ids(d.Letters(deadletters.Filter{}))
}

func ids(letters []deadletters.Letter) (all []string) {
	for _, l := range letters {
		all = append(all, l.Original.ID)
	}
	return all
}

func (b *bench) stored(topic string) (all []string) {
	for _, m := range b.broker.Server().Messages(topic) {
		all = append(all, m.ID)
	}
	return all
}

func (b *bench) same(what string, got, want []string) {
	b.Helper()
	if !slices.Equal(got, want) {
		b.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestFilters(t *testing.T) {
	inBench(t, memory.Config{Partitions: 3}, func(b *bench) {
		b.bury("orders", "a", "1", errNoStock)
		b.bury("orders", "b", "2", fmt.Errorf("wrapped: %w", errVoid))
		<-time.After(time.Hour)
		b.bury("bills", "a", "3", errNoStock)
		b.send(brokers.Message{Topic: "dead", ID: "4", Payload: []byte("no letter")})
		d := b.open()
		defer b.close(d)
		all := d.Letters(deadletters.Filter{})
		for name, test := range map[string]struct {
			filter deadletters.Filter
			want   []string
		}{
			"all":        {deadletters.Filter{}, []string{"1", "2", "3", "4"}},
			"topic":      {deadletters.Filter{Topic: "orders"}, []string{"1", "2"}},
			"key":        {deadletters.Filter{Key: []byte("a")}, []string{"1", "3"}},
			"reason":     {deadletters.Filter{Reason: "Gave"}, []string{"1", "2", "3"}},
			"error":      {deadletters.Filter{Error: "no stock"}, []string{"1", "3"}},
			"error type": {deadletters.Filter{ErrorType: "voidError"}, []string{"2"}},
			"since":      {deadletters.Filter{Since: b.begun.Add(time.Minute), Reason: "gave"}, []string{"3"}},
			"until":      {deadletters.Filter{Until: b.begun.Add(time.Minute)}, []string{"1", "2"}},
			"both":       {deadletters.Filter{Topic: "orders", Key: []byte("a")}, []string{"1"}},
			"place":      {deadletters.Filter{At: &deadletters.Place{Partition: all[0].Partition, Offset: all[0].Offset}}, ids(all[:1])},
			"match":      {deadletters.Filter{Match: func(l deadletters.Letter) bool { return l.Err != nil }}, []string{"4"}},
		} {
			got := ids(d.Letters(test.filter))
			slices.Sort(got)
			b.same(name, got, test.want)
		}
		if l := d.Letters(deadletters.Filter{Error: "void"})[0]; l.Attempts != 3 || string(l.Original.Payload) != "payload of 2" || l.Original.Topic != "orders" {
			t.Errorf("letter %+v", l)
		}
		if l := d.Letters(deadletters.Filter{Match: func(l deadletters.Letter) bool { return l.Err != nil }})[0]; !errors.Is(l.Err, supervision.ErrNotDeadLetter) {
			t.Errorf("error %v", l.Err)
		}
	})
}

// What is replayed is the message as it was, under an id of its own, and its
// letter is gone; what is not stays.
func TestReplay(t *testing.T) {
	inBench(t, memory.Config{DedupWindow: time.Hour}, func(b *bench) {
		b.send(brokers.Message{Topic: "orders", ID: "1"}) // within the deduplication window
		b.bury("orders", "a", "1", errNoStock)
		b.bury("orders", "b", "2", errVoid)
		b.bury("orders", "a", "3", errNoStock)
		d := b.open()
		dry, err := d.Replay(b.Context(), deadletters.Filter{Error: "stock"}, deadletters.Options{DryRun: true})
		b.must(err)
		if dry.String() != "dry run: matched 2, done 2, held 0, unmarked 0" || len(b.stored("orders")) != 1 {
			t.Errorf("%v; stored %q", dry, b.stored("orders"))
		}
		report, err := d.Replay(b.Context(), deadletters.Filter{Error: "stock"}, deadletters.Options{})
		b.must(err)
		if report.String() != "matched 2, done 2, held 0, unmarked 0" {
			t.Error(report)
		}
		b.same("listed after it", ids(d.Letters(deadletters.Filter{})), []string{"2"})
		b.close(d)
		b.same("stored", b.stored("orders"), []string{"1", "1~replay-1", "3~replay-1"})
		got := b.broker.Server().Messages("orders")[1]
		if string(got.Key) != "a" || string(got.Payload) != "payload of 1" || len(got.Headers) != 1 || !slices.Equal(got.Headers[0].Value, []byte{0, 255}) {
			t.Errorf("replayed %+v", got)
		}
		b.same("left", b.left(), []string{"2"})
	})
}

func TestReplayElsewhereAndChanged(t *testing.T) {
	inBench(t, memory.Config{}, func(b *bench) {
		b.bury("orders", "a", "1", errNoStock)
		b.bury("orders", "a", "2", errNoStock)
		d := b.open()
		report, err := d.Replay(b.Context(), deadletters.Filter{}, deadletters.Options{To: "lab", Change: func(m *brokers.Message) error {
			if m.ID == "2~replay-1" {
				return errors.New("cannot be mended")
			}
			m.Payload = []byte("mended")
			return nil
		}})
		b.must(err)
		b.close(d)
		if report.Done != 1 || len(report.Held) != 1 || report.Held[0].Err.Error() != "cannot be mended" {
			t.Errorf("%+v", report)
		}
		if m := b.broker.Server().Messages("lab"); len(m) != 1 || string(m[0].Payload) != "mended" {
			t.Errorf("lab has %v", m)
		}
		b.same("left", b.left(), []string{"2"})
	})
}

// A letter stays until its replay is confirmed, and stored.
func TestHeld(t *testing.T) {
	long := strings.Repeat("x", 255)
	for name, test := range map[string]struct {
		id   string
		fail func(b *bench)
		want error
	}{
		"refused":   {"1", func(b *bench) { b.broker.Server().FailPublishes(1, brokers.ErrTooLarge) }, brokers.ErrTooLarge},
		"swallowed": {long, func(b *bench) { b.send(brokers.Message{Topic: "orders", ID: long}) }, deadletters.ErrSwallowed},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, memory.Config{DedupWindow: time.Hour}, func(b *bench) {
				b.bury("orders", "a", test.id, errNoStock)
				test.fail(b)
				d := b.open()
				report, err := d.Replay(b.Context(), deadletters.Filter{}, deadletters.Options{})
				b.must(err)
				b.close(d)
				if report.Done != 0 || len(report.Held) != 1 || !errors.Is(report.Held[0].Err, test.want) {
					t.Errorf("%+v, want it held for %v", report, test.want)
				}
				b.same("left", b.left(), []string{test.id})
			})
		})
	}
}

// A message that comes back again and again is not replayed for ever.
func TestLoopGuard(t *testing.T) {
	inBench(t, memory.Config{}, func(b *bench) {
		id := "1"
		for round := range 4 {
			b.bury("orders", "a", id, errNoStock)
			d := b.open()
			report, err := d.Replay(b.Context(), deadletters.Filter{}, deadletters.Options{})
			b.must(err)
			if round < 3 {
				id = fmt.Sprintf("1~replay-%d", round+1)
				b.same("stored", b.stored("orders")[round:], []string{id})
			} else if report.Done != 0 || len(report.Held) != 1 || !errors.Is(report.Held[0].Err, deadletters.ErrLoop) {
				t.Errorf("round %d: %+v", round, report)
			}
			b.close(d)
		}
		d := b.open()
		report, err := d.Replay(b.Context(), deadletters.Filter{}, deadletters.Options{MaxReplays: -1})
		b.must(err)
		b.close(d)
		if report.Done != 1 {
			t.Error(report)
		}
	})
}

// Where only prefixes can be acknowledged, a letter behind one that stays is
// listed again, and the report says so.
func TestPrefixes(t *testing.T) {
	inBench(t, memory.Config{CumulativeOnly: true}, func(b *bench) {
		for _, id := range []string{"1", "2", "3"} {
			b.bury("orders", id, id, errNoStock)
		}
		d := b.open()
		report, err := d.Replay(b.Context(), deadletters.Filter{Key: []byte("2")}, deadletters.Options{})
		b.must(err)
		if report.Done != 1 || report.Unmarked != 1 {
			t.Error(report)
		}
		report, err = d.Discard(deadletters.Filter{Key: []byte("1")}, false)
		b.must(err)
		if report.Done != 1 || report.Unmarked != 0 {
			t.Error(report)
		}
		b.close(d)
		b.same("left", b.left(), []string{"3"})
	})
}

func TestDiscard(t *testing.T) {
	inBench(t, memory.Config{}, func(b *bench) {
		b.bury("orders", "1", "1", errNoStock)
		b.bury("orders", "2", "2", errVoid)
		d := b.open()
		report, err := d.Discard(deadletters.Filter{Error: "void"}, true)
		b.must(err)
		if report.Done != 1 || !report.DryRun {
			t.Error(report)
		}
		_, err = d.Discard(deadletters.Filter{Error: "void"}, false)
		b.must(err)
		b.close(d)
		b.same("left", b.left(), []string{"1"})
		b.same("stored", b.stored("orders"), nil)
	})
}

func TestRate(t *testing.T) {
	inBench(t, memory.Config{}, func(b *bench) {
		for i := range 10 {
			b.bury("orders", "k", fmt.Sprint(i), errNoStock)
		}
		d := b.open()
		defer b.close(d)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(b.Context(), 1700*time.Millisecond)
		defer cancel()
		report, err := d.Replay(ctx, deadletters.Filter{}, deadletters.Options{Rate: 5})
		if !errors.Is(err, context.DeadlineExceeded) || report.Done != 8 || time.Since(begun) != 1700*time.Millisecond {
			t.Errorf("%v, %v after %v; want 8 in 1.7 s at 5 a second", report, err, time.Since(begun))
		}
		if n := len(d.Letters(deadletters.Filter{})); n != 2 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestConfigFaults(t *testing.T) {
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	for want, cfg := range map[string]deadletters.Config{
		"Broker": {Topic: "dead"},
		"Topic":  {Broker: broker},
		"Limit":  {Broker: broker, Topic: "dead", Limit: -1},
		"Quiet":  {Broker: broker, Topic: "dead", Quiet: -1},
	} {
		if _, err := deadletters.Open(t.Context(), cfg); !errors.Is(err, deadletters.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that names %s", err, want)
		}
	}
}
