package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeded returns the DSN of a broker with two dead letters.
func seeded(t *testing.T) string {
	t.Helper()
	dsn := "nats://embedded?dir=" + t.TempDir()
	broker, err := brokers.Open(t.Context(), dsn, embedded.Driver)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"orders", "orders.dead"} {
		if err := broker.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ann", "bob"} {
		m := brokers.Message{Topic: "orders", Key: []byte(key), ID: "id of " + key, Payload: []byte("order of " + key)}
		f := supervision.Failure{Err: errors.New("no stock for " + key), Attempt: 5, FirstAt: time.Now(), At: time.Now()}
		letter := supervision.Encode(&m, supervision.NewLetter(f, supervision.Verdict{Reason: "5 attempts failed"}), "orders.dead")
		if _, err := publisher.Publish(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(publisher.Close(t.Context()), broker.Close()); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// command runs it, and returns its status and what it printed.
func command(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	status := run(t.Context(), args, &out, &out)
	return status, out.String()
}

func TestCommand(t *testing.T) {
	at := []string{"-broker", seeded(t), "-topic", "orders.dead", "-quiet", "500ms"}
	for _, step := range []struct {
		args string
		want []string
	}{
		{"list", []string{`"ann"`, `"bob"`, "5 attempts", "no stock for ann", "2 letters"}},
		{"list -key bob", []string{`"bob"`, "1 letters"}},
		{"show -error ann", []string{`"Payload": "order of ann"`, `"ID": "id of ann"`, `"Reason": "5 attempts failed"`}},
		{"replay -key ann -dry-run", []string{"dry run: matched 1, done 1, held 0"}},
		{"replay -key ann -rate 100", []string{"matched 1, done 1, held 0"}},
		{"list", []string{`"bob"`, "1 letters"}},
		{"discard -reason attempts", []string{"matched 1, done 1"}},
		{"list", []string{"0 letters"}},
	} {
		status, out := command(t, append(at, strings.Fields(step.args)...)...)
		if status != exitOK {
			t.Fatalf("%s: status %d\n%s", step.args, status, out)
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", step.args, want, out)
			}
		}
	}
}

// A letter that stays is a failure, and says why.
func TestHeldIsAFailure(t *testing.T) {
	status, out := command(t, "-broker", seeded(t), "-topic", "orders.dead", "-quiet", "500ms", "replay", "-to", "nowhere")
	if status != exitFailed || !strings.Contains(out, "held 2") || !strings.Contains(out, "nowhere") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"list":                                "-broker is required",
		"-broker nats://x list":               "-topic is required",
		"-broker nats://x -topic t":           `command ""`,
		"-broker b -topic t burn":             `command "burn"`,
		"-broker b -topic t list -x":          "-x",
		"-broker b -topic t list more":        `"more"`,
		"-broker b -topic t list -at 7":       "-at",
		"-broker b -topic t list -since noon": "-since",
	} {
		if status, out := command(t, strings.Fields(args)...); status != exitUsage || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %s; want %q", args, status, out, want)
		}
	}
}
