package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	contract "github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

// A process is killed at random points and started again on what it left. In the
// end each account has each of its movements once, in order, and each has been
// published under one id.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	kills := 0
	for range 5 {
		if !killedAfter(t, dir, time.Duration(50+rand.IntN(700))*time.Millisecond) {
			break // it was done before
		}
		kills++
	}
	if out, err := child(t, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("killed %d times", kills)
	checkStates(t, dir)
	checkStatements(t, dir)
}

func child(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	return cmd
}

// killedAfter kills a child, unless it ends by itself before.
func killedAfter(t *testing.T, dir string, after time.Duration) bool {
	t.Helper()
	cmd := child(t, dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && !exit.Exited():
		return true
	}
	t.Fatalf("the child ended with %v\n%s", err, &out)
	return false
}

func checkStates(t *testing.T, dir string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "app.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	for k := range keys {
		record, err := store.Load(t.Context(), contract.Scope{Group: group, Topic: "movements"}, keyOf(k))
		if err != nil {
			t.Fatal(err)
		}
		var got account
		if err := json.Unmarshal(record.State, &got); err != nil {
			t.Fatal(err)
		}
		want := account{}
		for n := k; n < messages; n += keys {
			want.Balance += amount(n)
			want.Seen = append(want.Seen, n)
		}
		if got.Balance != want.Balance || len(got.Seen) != len(want.Seen) {
			t.Errorf("%s has %d of %d movements, want %d of %d", keyOf(k), got.Balance, len(got.Seen), want.Balance, len(want.Seen))
			continue
		}
		for i, n := range want.Seen {
			if got.Seen[i] != n {
				t.Errorf("%s: movement %d is number %d, want %d", keyOf(k), got.Seen[i], i, n)
				break
			}
		}
	}
}

func checkStatements(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := brokers.Open(ctx, "nats://embedded?dir="+filepath.Join(dir, "broker"), embedded.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	sub, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "audit", Topics: []string{"statements"}})
	if err != nil {
		t.Fatal(err)
	}
	type arrived struct{ m brokers.Message }
	all := make(chan arrived)
	for range 4 {
		go func() {
			part, err := sub.Accept(ctx)
			if err != nil {
				return // the test is over
			}
			for {
				batch, err := part.Fetch(ctx, brokers.FetchLimit{Messages: 500})
				if err != nil {
					return // the test is over
				}
				for _, m := range batch {
					select {
					case all <- arrived{m}:
					case <-ctx.Done():
						return
					}
				}
			}
		}()
	}
	seen, last := make(map[string]bool), make(map[string]int)
	for len(seen) < messages {
		select {
		case a := <-all:
			var m movement
			if err := json.Unmarshal(a.m.Payload, &m); err != nil {
				t.Fatal(err)
			}
			key := string(a.m.Key)
			if before, ok := last[key]; !seen[a.m.ID] && ok && m.Number < before {
				t.Fatalf("%s: statement %d after %d", key, m.Number, before)
			}
			seen[a.m.ID], last[key] = true, m.Number
		case <-ctx.Done():
			t.Fatalf("%d of %d statements", len(seen), messages)
		}
	}
	cancel()
	_ = sub.Close(ctx) // its partitions are open, and it was told not to wait
}
