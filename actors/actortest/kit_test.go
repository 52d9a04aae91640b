package actortest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
)

func TestNewNeedsABubble(t *testing.T) {
	for name, newTB := range map[string]func(actortest.TB){
		"kit": func(t actortest.TB) { desk(t) }, "sender": func(t actortest.TB) { actortest.NewSender(t) },
	} {
		r := &recorder{}
		r.run(newTB)
		if len(r.failures) == 0 || !strings.Contains(r.failures[0], "wrap the test in synctest.Test") {
			t.Errorf("%s: %q", name, r.failures)
		}
	}
}

type foreign struct{ brokers.Broker }

func TestNewRefuses(t *testing.T) {
	mustFail(t, failure(t, func(t actortest.TB) { actortest.New(t, actors.Subscription{}) }), "Actor: is required")
	mustFail(t, failure(t, func(t actortest.TB) {
		actortest.New(t, actors.Subscription{Actor: actors.Shared(clerk{}), Broker: foreign{}})
	}), "Subscription.Broker is a actortest_test.foreign")
}

func TestPublishFails(t *testing.T) {
	check(t, desk, []expectation{
		{"not encodable", nil, func(k *actortest.Kit) { k.Publish("k", func() {}) }, []string{"encode a func()"}},
		{"refused", nil, func(k *actortest.Kit) {
			k.Server().FailPublishes(1, errors.New("no room"))
			k.Publish("k", []byte("1"))
		}, []string{"actortest: publish:", "no room"}},
		{"held", nil, func(k *actortest.Kit) {
			k.Server().HoldPublishes()
			k.Publish("k", []byte("1"))
		}, []string{"actortest: publish:", "deadline exceeded"}},
	})
}

// A Key function names the actors, and so the scopes.
func TestKeyFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := actortest.New(t, actors.Subscription{
			Key: brokers.JSONKey("Customer"), Topics: []string{"orders", "refunds"}, Actor: actors.Shared(clerk{}),
		})
		kit.PublishMessages(
			brokers.Message{Payload: []byte(`{"Customer":"alice"}`)},
			brokers.Message{Topic: "refunds", Payload: []byte(`{"Customer":"bob"}`), ID: "r1"},
		)
		if h := kit.Key("alice").ExpectHandled(); h.Topic != "orders" || h.ID != "message-1" {
			t.Errorf("alice's: %v", h)
		}
		if m := kit.Key("bob").ExpectAcked(); m.ID != "r1" || m.Topic != "refunds" {
			t.Errorf("bob's: %v", m)
		}
		kit.Partition("refunds", 0).ExpectCommitted(0)
	})
}

func TestOutputThatIsRefusedIsInTheStory(t *testing.T) {
	got := failure(t, func(t actortest.TB) {
		kit := desk(t)
		kit.Server().OnPublish(func(m brokers.Message) error {
			if m.Topic == "out" {
				return errors.New("unroutable")
			}
			return nil
		})
		kit.Publish("k", []byte("total"))
		kit.Within(time.Second).ExpectPublished("out", Total{7})
	})
	mustFail(t, got, "not published", "out {\"Sum\":7}: refused: unroutable")
}

func TestLongStoriesAreCut(t *testing.T) {
	got := failure(t, func(t actortest.TB) {
		kit := parking(t)
		kit.Publish("k", []byte("bad"), []byte(strings.Repeat("x", 500)), []byte{0, 1}, nil)
		kit.ExpectHandled()
	})
	mustFail(t, got, "more before ...")
	if lines := strings.Count(got, "\n"); lines > 70 {
		t.Errorf("%d lines", lines)
	}
}

func TestPayloadsInTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := desk(t)
		kit.Publish("k", []byte(strings.Repeat("x", 500)), []byte{0, 1}, brokers.Message{})
		for _, want := range []string{"xxx... (500 bytes)", `"\x00\x01"`, "tombstone"} {
			if !strings.Contains(kit.Story(), want) {
				t.Errorf("no %s in\n%s", want, kit.Story())
			}
		}
	})
}

func TestHoursOfBackoffPassInNoTime(t *testing.T) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		kit := actortest.New(t, actors.Subscription{Actor: actors.Func(func(context.Context, brokers.Message) error { return errFlaky })})
		kit.Publish("k", []byte("1"))
		for range 100 {
			kit.ExpectParked()
		}
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// Run prints what fails, and is not disturbed by how tests are run.
func TestRunPrints(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	times := 0
	actortest.Run(func(t actortest.TB) {
		times++
		t.Cleanup(func() { fmt.Println("cleaned up") })
		t.Errorf("first %d", 1)
		fatal := t.Fatalf
		fatal("second")
		t.Errorf("never")
	})
	os.Stdout = stdout
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var all [1 << 10]byte
	n, err := r.Read(all[:])
	if err != nil || string(all[:n]) != "first 1\nsecond\ncleaned up\n" || times != 1 {
		t.Errorf("printed %q, ran %d times: %v", all[:n], times, err)
	}
}

// What a Transactional subscription has staged is published with its
// acknowledgement, also in the record.
func TestTransactionalIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := actortest.New(t, actors.Subscription{
			Transactional: true,
			Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				if ctx.Key() == "slow" {
					<-time.After(time.Minute)
				}
				return ctx.Publish("out", ctx.Event().Payload)
			})),
		})
		kit.Publish("slow", []byte("1"))
		kit.Publish("quick", []byte("2"))
		kit.Broker().Topic("out").ExpectNone(59 * time.Second)
		for _, want := range []string{"1", "2"} {
			if got := kit.Broker().Topic("out").Receive(1)[0].Value.(brokers.Message); string(got.Payload) != want {
				t.Errorf("published %q; want %q", got.Payload, want)
			}
		}
	})
}
