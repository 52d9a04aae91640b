package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/supervision"
)

// needed is a server's URL from the environment.
func needed(t *testing.T, variable string) string {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatalf("%s is not set", variable)
		}
		t.Skipf("%s is not set", variable)
	}
	return text
}

func with(t *testing.T, dsn string, options url.Values) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for name, values := range options {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func lite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "orders.db") }

// A run that is killed at ten random points, and goes on each time where it was, has
// exactly the right totals in the end, and each order's event is published.
func TestStoreOutlivesKills(t *testing.T) {
	tests := map[string]struct {
		broker func(t *testing.T) string
		store  func(t *testing.T) string
		kills  int // unless CHAOS_LONG is set
	}{
		"embedded, SQLite": {
			broker: func(t *testing.T) string { return "nats://embedded?dir=" + url.QueryEscape(t.TempDir()) },
			store:  lite, kills: 10,
		},
		"Kafka, PostgreSQL": {
			broker: func(t *testing.T) string {
				return with(t, needed(t, "TEST_KAFKA_URL"), url.Values{"instance_id": {"the only one"}})
			},
			store: func(t *testing.T) string { return outboxtest.PostgresURL(t) }, kills: 10,
		},
		"RabbitMQ, PostgreSQL": {
			broker: func(t *testing.T) string { return needed(t, "TEST_AMQP_URL") },
			store:  func(t *testing.T) string { return outboxtest.PostgresURL(t) }, kills: 4,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rows = 4000
			kills := test.kills
			if os.Getenv("CHAOS_LONG") != "" {
				kills = 10
			}
			broker, store := test.broker(t), test.store(t)
			prefix := "t" + strings.ToLower(rand.Text()[:8]) + "-"
			args := []string{
				"-json", "-faults", "0.01", "-rows", fmt.Sprint(rows), "-prefix", prefix, "-partitions", "4", "-broker", broker, "-store", store,
			}
			points := make([]int64, kills)
			for i := range points {
				points[i] = mathrand.Int64N(2 * rows * 9 / 10)
			}
			slices.Sort(points)
			kept, err := openDatabase(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			kept.prefix = prefix
			defer func() { _ = kept.Close() }()
			for _, point := range points {
				killedAt(t, kept, point, args)
			}
			got := decodeTotals(t, completed(t, args))
			same(t, got, sum(t, generated(1, rows)))
			checkOrders(t, broker, prefix, placed(t, generated(1, rows)))
			checkLetters(t, broker, prefix+returnsDead, got["cancel.lines_unmatched"])
			t.Logf("killed at %d", points)
			same(t, decodeTotals(t, completed(t, args)), got) // once more, with nothing left to do
		})
	}
}

// killedAt kills a run once both groups together have that many rows in the store.
func killedAt(t *testing.T, kept *vault, point int64, args []string) {
	t.Helper()
	cmd := command(t, args)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(90 * time.Second)
	p := newProgress("", 0, ledgerGroup, returnsGroup)
	for p.decided() < point {
		select {
		case err := <-ended:
			t.Fatalf("the run ended by itself: %v\n%s", err, &stderr)
		case <-limit:
			t.Errorf("%d rows of %d after 90 s", p.decided(), point)
			point = 0
		case <-tick.C:
			if _, err := kept.counted(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Those that are behind the last one's work are killed while they begin.
	<-time.After(time.Duration(mathrand.IntN(50)) * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Fatalf("the run ended by itself\n%s", &stderr)
	}
	if t.Failed() {
		t.Fatalf("what it told:\n%s", &stderr)
	}
}

// placed are the orders of the input: an order begins with its first line that sells
// something to somebody.
func placed(t *testing.T, in input) map[orderPlaced]bool {
	t.Helper()
	orders := make(map[orderPlaced]bool)
	for l, err := range in.lines {
		if err != nil {
			t.Fatal(err)
		}
		if l.Customer != "" && !strings.HasPrefix(l.Invoice, "C") && number(t, l.Quantity, 1) > 0 {
			orders[orderPlaced{l.Invoice, l.Customer}] = true
		}
	}
	return orders
}

// read calls f with every message of a topic of one partition, until f is content.
func read(t *testing.T, dsn, topic, group string, f func(brokers.Message) (enough bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := brokers.Open(ctx, dsn, drivers()...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	sub, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: group, Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close(ctx) }() // it is told not to wait
	for {
		part, err := sub.Accept(ctx)
		if err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
		for {
			batch, err := part.Fetch(ctx, brokers.FetchLimit{Messages: 500})
			if errors.Is(err, brokers.ErrRevoked) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", topic, err)
			}
			for _, m := range batch {
				if f(m) {
					cancel()
					return
				}
			}
		}
	}
}

// checkOrders waits until every order's event is there, under one id each, and none
// besides.
func checkOrders(t *testing.T, dsn, prefix string, want map[orderPlaced]bool) {
	t.Helper()
	ids := make(map[orderPlaced]string)
	read(t, dsn, prefix+ordersTopic, prefix+"shipping", func(m brokers.Message) bool {
		var o orderPlaced
		if err := json.Unmarshal(m.Payload, &o); err != nil {
			t.Fatal(err)
		}
		if !want[o] {
			t.Errorf("there is no order %+v", o)
		}
		if id, known := ids[o]; known && id != m.ID {
			t.Errorf("%+v has the ids %q and %q", o, id, m.ID)
		}
		ids[o] = m.ID
		return len(ids) == len(want)
	})
}

func checkLetters(t *testing.T, dsn, topic, want string) {
	t.Helper()
	ids := make(map[string]bool)
	read(t, dsn, topic, strings.TrimSuffix(topic, returnsDead)+"review", func(m brokers.Message) bool {
		original, letter, err := supervision.Decode(&m)
		if err != nil || !strings.Contains(letter.ErrorMessage, "nothing to undo") {
			t.Errorf("%+v of %q, %v", letter, original.ID, err)
		}
		ids[original.ID] = true
		return fmt.Sprint(len(ids)) == want
	})
}

// With a store the totals are those of a simple sum, too; the store is of that run
// and no other.
func TestStore(t *testing.T) {
	const rows = 1000
	store := lite(t)
	broker := newBroker(t, memory.Config{})
	for range 2 {
		in := generated(1, rows)
		j := newJob(options{partitions: 4, faults: 0.05, store: store}, in, broker)
		var err error
		if j.vault, err = openVault(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if _, err := j.work(t.Context(), newLogger(log.Writer()), quiet()); err != nil {
			t.Fatal(err)
		}
		same(t, asPrinted(t, foundBy(t, j).named()), sum(t, in))
		if err := j.vault.close(); err != nil {
			t.Fatal(err)
		}
	}
	ids := make(map[string]bool)
	for _, m := range broker.Server().Messages(ordersTopic) {
		ids[m.ID] = true
	}
	if want := len(placed(t, generated(1, rows))); len(ids) != want {
		t.Errorf("%d events of %d orders", len(ids), want)
	}
	j := newJob(options{store: store}, generated(1, rows+1), broker)
	if _, err := openVault(t.Context(), j); err == nil || !strings.Contains(err.Error(), "1000 rows") {
		t.Errorf("another run on the store: %v", err)
	}
	j.options.store = "mysql://"
	if _, err := openVault(t.Context(), j); err == nil || !strings.Contains(err.Error(), "-store") {
		t.Errorf("another kind of store: %v", err)
	}
}

// A state is the same when it has been stored in between.
func TestStatesAsStored(t *testing.T) {
	whole, pieces := newStoredCustomer("1"), newStoredCustomer("1")
	account, stored := newStoredAccount("1"), newStoredAccount("1")
	for l, err := range generate(3, 2000) {
		if err != nil {
			t.Fatal(err)
		}
		l.Customer = "1"
		s, err := l.parse()
		if err != nil {
			t.Fatal(err)
		}
		account.Account.book(s)
		stored.Account.book(s)
		before, after := whole.Customer.take(s), pieces.Customer.take(s)
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("row %d: %v, and of a stored state %v", l.Row, before, after)
		}
		if l.Row%100 == 0 {
			pieces, stored = again(t, pieces, newStoredCustomer("1")), again(t, stored, newStoredAccount("1"))
		}
	}
	for _, pair := range [][2]any{{whole, pieces}, {account, stored}} {
		if a, b := encoded(t, pair[0]), encoded(t, pair[1]); a != b {
			t.Errorf("%s\nand when it was stored\n%s", a, b)
		}
	}
	var broken customer
	if err := json.Unmarshal([]byte(`{"open":[{"stock":"a","items":[{"invoice":"1","left":2}]}]}`), &broken); err == nil {
		t.Error("an open line of no order was accepted")
	}
}

func again[S any](t *testing.T, state, fresh *S) *S {
	t.Helper()
	if err := json.Unmarshal([]byte(encoded(t, state)), fresh); err != nil {
		t.Fatal(err)
	}
	return fresh
}

func encoded(t *testing.T, state any) string {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
