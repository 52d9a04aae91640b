package sagas_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
	"github.com/troupe-go/troupe/supervision"
)

type trip struct{ Notes []string }

func newWorld(t *testing.T, steps ...sagas.Step[trip]) *sagatest.World[trip] {
	return sagatest.NewWorld(t, &sagas.Definition[trip]{Name: "trip", Version: 1, Steps: steps})
}

func to(topic string) sagas.Action[trip] {
	return sagas.Send(time.Minute, func(trip) sagas.Command { return sagas.Command{Topic: topic, Type: topic} }, nil)
}

func local(note string, err func() error) sagas.Action[trip] {
	return sagas.Call(time.Minute, func(ctx context.Context, key string, s trip) (trip, error) {
		if err != nil {
			if err := err(); err != nil {
				return s, err
			}
		}
		return trip{append(slices.Clone(s.Notes), note)}, ctx.Err()
	})
}

func step(n string) sagas.Step[trip] { return sagas.Step[trip]{Name: n, Do: to(n), Undo: to("un" + n)} }

// Commands and Calls lead to the end, and a rejection goes back.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, step("a"), sagas.Step[trip]{Name: "b", Do: local("b", nil), Undo: local("unb", nil)},
			sagas.Step[trip]{Name: "c", Kind: sagas.Pivot, Do: to("c")})
		var events []string
		w.Config.Observe = func(l sagas.Lifecycle) { events = append(events, string(l.What)) }
		w.Config.Events = "events"
		r := w.Open()
		w.Ends(w.Start(r, "1", trip{}), sagas.Completed)
		if got := w.Topics("events"); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("sent %q", got)
		}
		want := []string{"started", "step begun", "step done", "step begun", "step done", "step begun", "step done", "completed"}
		if !slices.Equal(events, want) || len(w.Topics("a", "c")) != len(want) {
			t.Errorf("told of %q, published %d events", events, len(w.Topics("a", "c")))
		}
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			if m.Topic == "c" {
				return sagas.Rejected, "sold out"
			}
			return sagas.Accepted, ""
		}
		h := w.Start(r, "2", trip{})
		if in := w.Ends(h, sagas.Compensated); in.Reason != "sold out" || !slices.Equal(in.State.Notes, []string{"b", "unb"}) {
			t.Errorf("ended as %+v", in)
		}
		if got := w.Topics("events"); !slices.Equal(got, []string{"a", "c", "a", "c", "una"}) {
			t.Errorf("sent %q", got)
		}
		log, err := h.Timeline(t.Context())
		if err != nil || log[len(log)-1].What != sagas.AllUndone {
			t.Errorf("timeline %+v, %v", log, err)
		}
		w.Close(r)
	})
}

// X06: of many who start one id, with two runners, one does.
func TestStartOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, step("a"))
		w.Answer = func(*brokers.Message) (sagas.Result, string) { return 0, "" }
		r1 := w.Open()
		w.Config.Name = "other"
		r2 := w.Open()
		var started, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 20 {
			r, state := r1, trip{}
			if i%2 == 1 {
				r = r2
			}
			if i >= 15 {
				state = trip{[]string{"other"}}
			}
			all.Go(func() {
				h, err := r.Start(t.Context(), "o-9", state)
				switch {
				case err == nil && h.ID() == "o-9":
					started.Add(1)
				case errors.Is(err, sagas.ErrStarted):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := started.Load(); n+refused.Load() != 20 || n != 15 && n != 5 {
			t.Errorf("%d handles, %d refused", started.Load(), refused.Load())
		}
		if got := w.Topics(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("sent %q, want one command", got)
		}
		w.Close(r1)
		w.Close(r2)
	})
}

// B27: a compensation that is always rejected makes its saga stuck and no other,
// and a person settles it either way.
func TestCompensationRejected(t *testing.T) {
	for _, operation := range []sagas.Operation{sagas.Resolve, sagas.Retry} {
		t.Run(operation.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s2 := step("s2")
				s2.UndoPolicy = supervision.Policy{MaxAttempts: 3, Backoff: supervision.Constant(100 * time.Millisecond)}
				w := newWorld(t, step("s1"), s2, sagas.Step[trip]{Name: "s3", Kind: sagas.Pivot, Do: to("s3")}, sagas.Step[trip]{Name: "s4", Kind: sagas.Retriable, Do: to("s4")})
				var mended atomic.Bool
				w.Answer = func(m *brokers.Message) (sagas.Result, string) {
					bad := string(m.Key) == "bad"
					switch {
					case bad && m.Topic == "s3":
						return sagas.Rejected, "no"
					case bad && m.Topic == "uns2" && !mended.Load():
						return sagas.Rejected, "already shipped"
					}
					return sagas.Accepted, ""
				}
				r := w.Open()
				bad := w.Start(r, "bad", trip{})
				w.Ends(w.Start(r, "good", trip{}), sagas.Completed)
				<-time.After(time.Second)
				stuck, err := r.Instances(t.Context(), sagas.Selection{Statuses: []sagas.Status{sagas.Stuck}})
				if err != nil || len(stuck) != 1 || stuck[0].ID != "bad" || !strings.Contains(stuck[0].Reason, "already shipped") {
					t.Fatalf("stuck are %+v, %v", stuck, err)
				}
				keys := make(map[string]int)
				for _, m := range w.Sent() {
					if m.Topic == "uns2" {
						keys[m.CorrelationID]++
					}
				}
				if len(keys) != 1 || keys["trip/bad/s2/undo"] != 3 {
					t.Errorf("compensation was sent %v", keys)
				}
				if slices.Contains(w.Topics(), "uns1") {
					t.Error("the one before was compensated before this was settled")
				}
				mended.Store(true)
				if err := bad.Operate(t.Context(), operation, "eve", "seen to"); err != nil {
					t.Fatal(err)
				}
				w.Ends(bad, sagas.Compensated)
				got := w.Topics()
				if got[len(got)-1] != "uns1" {
					t.Errorf("sent %q", got)
				}
				for _, m := range w.Sent() {
					if m.Topic == "s4" && string(m.Key) == "bad" {
						t.Error("a step after the one that was rejected was started")
					}
				}
				log, err := bad.Timeline(t.Context())
				if err != nil || !slices.ContainsFunc(log, func(e sagas.Entry) bool {
					return e.What == sagas.Acted && e.Who == "eve" && strings.Contains(e.Reason, "seen to")
				}) {
					t.Errorf("timeline %+v, %v", log, err)
				}
				if err := bad.Operate(t.Context(), sagas.Skip, "eve", "again"); !errors.Is(err, sagas.ErrEnded) {
					t.Errorf("operate on one that has ended: %v", err)
				}
				w.Close(r)
			})
		})
	}
}

// A silent participant is asked again by the timer, also after the runner has ended
// and another has begun, and the deadline ends it.
func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := step("a")
		a.Policy = supervision.Policy{MaxAttempts: 1000, Backoff: supervision.Constant(time.Second)}
		w := newWorld(t, a)
		w.Config.Definitions[0].Deadline = time.Hour
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			if m.Topic == "a" {
				return 0, ""
			}
			return sagas.Accepted, ""
		}
		r := w.Open()
		h := w.Start(r, "1", trip{})
		<-time.After(62 * time.Second)
		if got := w.Topics(); !slices.Equal(got, []string{"a", "a"}) {
			t.Errorf("sent %q", got)
		}
		w.Close(r)
		<-time.After(10 * time.Minute)
		w.Config.Name = "other"
		r = w.Open()
		<-time.After(2 * time.Second)
		if got := w.Topics(); len(got) != 3 {
			t.Errorf("sent %q", got)
		}
		h, err := r.Find(t.Context(), h.ID())
		if err != nil {
			t.Fatal(err)
		}
		if in := w.Ends(h, sagas.Compensated); in.Reason != "deadline" {
			t.Errorf("compensated for %q", in.Reason)
		}
		w.Close(r)
	})
}

// Calls that run when the process ends are made again at once by the next one, with
// the same key, and cancelling goes back.
func TestResumeAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		block := make(chan struct{})
		w := newWorld(t, sagas.Step[trip]{Name: "a", Undo: local("una", nil), Do: sagas.Call(time.Hour, func(ctx context.Context, key string, s trip) (trip, error) {
			keys = append(keys, key)
			select {
			case <-block:
			case <-ctx.Done():
			}
			return s, ctx.Err()
		})}, step("b"))
		r := w.Open()
		w.Start(r, "1", trip{})
		synctest.Wait()
		w.Close(r)
		began := time.Now()
		r = w.Open()
		synctest.Wait()
		if !slices.Equal(keys, []string{"trip/1/a/do", "trip/1/a/do"}) || time.Since(began) > time.Second {
			t.Errorf("called with %q", keys)
		}
		h, err := r.Find(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Cancel(t.Context(), "changed my mind"); err != nil {
			t.Fatal(err)
		}
		close(block)
		if in := w.Ends(h, sagas.Compensated); in.Reason != "changed my mind" || !slices.Equal(in.State.Notes, []string{"una"}) {
			t.Errorf("ended as %+v", in)
		}
		w.Close(r)
		if _, err := r.Start(t.Context(), "2", trip{}); !errors.Is(err, sagas.ErrClosed) {
			t.Errorf("start after the end: %v", err)
		}
	})
}

// A Call that fails or panics is tried again; one that is rejected is not.
func TestCallFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		fails := func() error {
			switch n++; n {
			case 1:
				return errors.New("flaky")
			case 2:
				panic("evil")
			}
			return nil
		}
		w := newWorld(t, sagas.Step[trip]{Name: "a", Do: local("a", fails), Undo: local("una", nil)},
			sagas.Step[trip]{Name: "b", Kind: sagas.Pivot, Do: local("b", func() error { return sagas.Reject("no") })})
		r := w.Open()
		if in := w.Ends(w.Start(r, "1", trip{}), sagas.Compensated); n != 3 || in.Reason != "no" || fmt.Sprint(in.State.Notes) != "[a una]" {
			t.Errorf("%d calls, ended as %+v", n, in)
		}
		w.Close(r)
	})
}

// B29, second half: early replies are applied after the start, orphaned and late
// ones end as dead letters with a reason, and repeats do nothing.
func TestEarlyReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, step("a"))
		w.Answer = func(*brokers.Message) (sagas.Result, string) { return 0, "" }
		w.Config.MaxEarly = 2
		r := w.Open()
		reply := func(id, message string) {
			t.Helper()
			m, err := sagas.Answer(&brokers.Message{ID: message, CorrelationID: "trip/" + id + "/a/do", ReplyTo: "replies"}, sagas.Accepted, "", nil)
			if err == nil {
				err = r.Reply(t.Context(), m)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		reply("soon", "1")
		reply("never", "2")
		reply("never", "2")
		reply("many", "3") // one too many
		<-time.After(time.Second)
		w.Ends(w.Start(r, "soon", trip{}), sagas.Completed)
		reply("soon", "1") // a repeat
		reply("soon", "4") // late
		<-time.After(6 * time.Minute)
		var reasons []string
		for _, m := range w.Sent() {
			if m.Topic != "dead" {
				continue
			}
			_, letter, err := supervision.Decode(&m)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, letter.Reason)
		}
		want := []string{
			"orphaned: there is no such saga, and too many early replies are kept", "late: the saga is completed",
			"orphaned: there is no such saga, and none was started in 5m0s",
		}
		if !slices.Equal(reasons, want) {
			t.Errorf("dead letters %q, want %q", reasons, want)
		}
		if err := r.Reply(t.Context(), brokers.Message{ID: "x"}); !errors.Is(err, sagas.ErrNoReply) {
			t.Errorf("no reply: %v", err)
		}
		w.Close(r)
	})
}

// Versions live beside each other, are migrated, and one that nobody can go on with
// is named.
func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, step("a"))
		w.Answer = func(*brokers.Message) (sagas.Result, string) { return 0, "" }
		v1 := w.Config.Definitions[0]
		r := w.Open()
		w.Start(r, "old", trip{})
		synctest.Wait()
		w.Close(r)
		v2 := &sagas.Definition[trip]{Name: "trip", Version: 2, Steps: []sagas.Step[trip]{step("a"), step("b")}}
		w.Config.Definitions = []*sagas.Definition[trip]{v2}
		var version *sagas.VersionError
		if _, err := sagas.Open(t.Context(), w.Config); !errors.As(err, &version) || version.Version != 1 || version.Instances != 1 || !strings.Contains(err.Error(), `"trip"`) || !strings.HasSuffix(err.Error(), `: "old"`) {
			t.Fatalf("opened, or %v", err)
		}
		w.Answer = func(*brokers.Message) (sagas.Result, string) { return sagas.Accepted, "" }
		w.Config.Definitions = []*sagas.Definition[trip]{v2, v1}
		r = w.Open()
		w.Ends(w.Start(r, "new", trip{}), sagas.Completed)
		w.Close(r)
		w.Config.Definitions = []*sagas.Definition[trip]{v2}
		w.Config.Migrate = map[int]func(sagas.Instance[trip]) (sagas.Instance[trip], error){
			1: func(in sagas.Instance[trip]) (sagas.Instance[trip], error) {
				in.Outcomes = append(in.Outcomes, sagas.Untouched)
				return in, nil
			},
		}
		r = w.Open()
		h, err := r.Find(t.Context(), "old")
		if err != nil {
			t.Fatal(err)
		}
		if in := w.Ends(h, sagas.Completed); in.Version != 2 {
			t.Errorf("ended at version %d", in.Version)
		}
		if got := w.Topics(); !slices.Equal(got, []string{"a", "a", "b", "a", "b"}) {
			t.Errorf("sent %q", got)
		}
		w.Close(r)
	})
}

// Ended instances are forgotten after their retention.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, step("a"))
		w.Config.Retention = time.Minute
		r := w.Open()
		h := w.Start(r, "1", trip{})
		w.Ends(h, sagas.Completed)
		<-time.After(3 * time.Minute)
		if _, err := h.Query(t.Context()); !errors.Is(err, sagas.ErrNotFound) {
			t.Errorf("query: %v", err)
		}
		w.Close(r)
	})
}

func TestConfig(t *testing.T) {
	w := newWorld(t, step("a"))
	for want, change := range map[string]func(*sagas.Config[trip]){
		"Definitions is empty": func(c *sagas.Config[trip]) { c.Definitions = nil },
		"Store is required":    func(c *sagas.Config[trip]) { c.Store = nil },
		"Replies is required":  func(c *sagas.Config[trip]) { c.Replies = "" },
		"DeadLetters":          func(c *sagas.Config[trip]) { c.DeadLetters = "replies" },
		"Calls is negative":    func(c *sagas.Config[trip]) { c.Calls = -1 },
		"version 1 is there":   func(c *sagas.Config[trip]) { c.Definitions = append(slices.Clone(c.Definitions), c.Definitions[0]) },
	} {
		cfg := w.Config
		change(&cfg)
		if _, err := sagas.Open(t.Context(), cfg); !errors.Is(err, sagas.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
