package durable

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	contract "github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/outbox/outboxtest"
)

// Writers move money between accounts, and relays and durable actors, in processes
// of their own, keep a statement of each account, while blows fall: processes are
// killed, connections cut, transactions left open; with CHAOS_LONG and TEST_SERVICES
// servers are killed as well. In the end every statement has each entry of its
// account once and in order, and the money is what it was, to the cent.
func TestBank(t *testing.T) {
	tests := map[string]struct {
		broker, service, options string
		ledger                   func(t *testing.T) string
	}{
		"SQLite, NATS":      {"TEST_NATS_URL", "nats", "", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "bank.db") }},
		"PostgreSQL, Kafka": {"TEST_KAFKA_URL", "kafka", "instance_id=member-%d", func(t *testing.T) string { return outboxtest.PostgresURL(t) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := os.Getenv(test.broker)
			if server == "" {
				if os.Getenv("REQUIRE_BROKERS") == "1" {
					t.Fatalf("%s is not set", test.broker)
				}
				t.Skipf("%s is not set", test.broker)
			}
			b := &bank{t: t, blows: make(map[string]int), service: test.service, options: test.options}
			b.role = role{Ledger: test.ledger(t), Broker: server, Topic: "bank-" + uuid.NewString(), Group: "bank-" + uuid.NewString()}
			b.open()
			b.strike(duration(t))
			b.settle()
			b.check()
		})
	}
}

// duration is how long blows fall.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := cmp.Or(os.Getenv("CHAOS_LONG"), "6s")
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CHAOS_LONG: %v", err)
	}
	return d
}

type bank struct {
	t       *testing.T
	role    role
	service string
	options string // of the broker's DSN, by member
	ledger  *ledger
	broker  brokers.Broker
	cut     func(broken time.Duration) // nil if there is no toxiproxy
	blows   map[string]int

	processes []*process // writers, then members
	foreign   sync.WaitGroup
}

const writers, members = 3, 2

// process is a child, and what it is.
type process struct {
	role role
	cmd  *exec.Cmd
	out  bytes.Buffer
}

func (b *bank) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bank) open() {
	ctx := b.t.Context()
	var err error
	b.ledger, err = openLedger(ctx, b.role.Ledger)
	b.must(err)
	b.t.Cleanup(func() { _ = b.ledger.close() })
	b.must(b.ledger.inTx(ctx, func(t tx) error {
		err := t.exec(`CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents BIGINT NOT NULL, n INTEGER NOT NULL)`)
		for id := 0; id < accounts && err == nil; id++ {
			err = t.exec(fmt.Sprintf(`INSERT INTO accounts VALUES (%d, %d, 0)`, id, opening))
		}
		return err
	}))
	b.broker, err = brokers.Open(ctx, b.role.Broker, kafka.Driver, nats.Driver)
	b.must(err)
	b.t.Cleanup(func() { _ = b.broker.Close() })
	b.must(b.broker.EnsureTopic(ctx, brokers.TopicConfig{Name: b.role.Topic, Partitions: 4, Groups: []string{b.role.Group, b.role.Group + "-audit"}}))
	through := b.role.Ledger
	if b.postgres() && os.Getenv("TEST_TOXIPROXY_URL") != "" {
		through, b.cut = proxied(b.t, b.role.Ledger)
	}
	for i := range writers + members {
		r := b.role
		r.Name, r.Number, r.Ledger = "writer", i, through
		if i >= writers {
			r.Name = "member"
			if b.options != "" {
				r.Broker += "?" + fmt.Sprintf(b.options, i)
			}
		}
		p := &process{role: r}
		b.start(p)
		b.processes = append(b.processes, p)
	}
	b.t.Cleanup(func() {
		for _, p := range b.processes {
			b.kill(p)
		}
		b.foreign.Wait()
	})
}

func (b *bank) postgres() bool { return strings.HasPrefix(b.role.Ledger, "postgres") }

func (b *bank) start(p *process) {
	b.t.Helper()
	text, err := json.Marshal(p.role)
	b.must(err)
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), bankChild+"="+string(text))
	p.out.Reset()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	b.must(p.cmd.Start())
}

// kill ends a process as kill -9 does. That one has ended by itself is a fault.
func (b *bank) kill(p *process) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	err := p.cmd.Wait()
	p.cmd = nil
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		b.t.Errorf("%s %d ended by itself: %v\n%s", p.role.Name, p.role.Number, err, &p.out)
	}
}

// strike deals blows for so long.
func (b *bank) strike(d time.Duration) {
	blows := map[string]func(){
		"a process killed": func() {
			p := b.processes[rand.IntN(len(b.processes))]
			b.kill(p)
			b.start(p)
		},
	}
	if b.postgres() {
		blows["a foreign transaction"] = b.leaveOpen
	}
	if b.cut != nil {
		blows["connections cut"] = func() { b.cut(time.Duration(rand.IntN(1000)) * time.Millisecond) }
	}
	if script := os.Getenv("TEST_SERVICES"); script != "" && os.Getenv("CHAOS_LONG") != "" {
		blows["the broker killed"] = func() { b.restart(script, b.service) }
		if b.postgres() {
			blows["PostgreSQL killed"] = func() { b.restart(script, "postgres") }
		}
	}
	var names []string
	for name := range blows {
		names = append(names, name)
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		pause(b.t.Context(), time.Duration(200+rand.IntN(1000))*time.Millisecond)
		name := names[rand.IntN(len(names))]
		if strings.HasSuffix(name, "r killed") || strings.HasSuffix(name, "L killed") { // not as often
			if rand.IntN(5) > 0 {
				name = "a process killed"
			}
		}
		b.blows[name]++
		blows[name]()
	}
}

func (b *bank) restart(script, service string) {
	for _, command := range []string{"kill", "start"} {
		if out, err := exec.CommandContext(b.t.Context(), "bash", script, command, service).CombinedOutput(); err != nil {
			b.t.Errorf("%s %s: %v\n%s", command, service, err, out)
		}
	}
}

// leaveOpen has a transaction open for up to 4 s that has nothing to do with the
// bank.
func (b *bank) leaveOpen() {
	b.foreign.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, b.role.Ledger)
		if err != nil {
			return // the server is being killed
		}
		defer func() { _ = conn.Close(ctx) }() // which rolls it back
		if _, err := conn.Exec(ctx, `BEGIN; SELECT pg_current_xact_id()`); err == nil {
			pause(ctx, time.Duration(rand.IntN(4000))*time.Millisecond)
		}
	})
}

// settle ends the writers, and waits until everything they did has arrived.
func (b *bank) settle() {
	for _, p := range b.processes[:writers] {
		b.kill(p)
	}
	b.foreign.Wait()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		entries, kept, lag, err := b.progress(ctx)
		if err == nil && entries == kept && lag == 0 {
			b.t.Logf("%d entries, through %v", entries, b.blows)
			return
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			for _, p := range b.processes[writers:] {
				b.t.Logf("%s %d: %s", p.role.Name, p.role.Number, &p.out)
			}
			b.t.Fatalf("%d entries, %d in the statements, %d in the outbox, %v", entries, kept, lag, err)
		}
	}
}

// progress is how many entries were made, how many the statements have, and how many
// wait to be published.
func (b *bank) progress(ctx context.Context) (entries, kept, lag int64, err error) {
	if err = b.ledger.row(ctx, `SELECT sum(n) FROM accounts`, &entries); err != nil {
		return
	}
	err = b.ledger.each(ctx, b.role.Group, b.role.Topic, func(_ string, r contract.Record) error {
		var s statement
		err := json.Unmarshal(r.State, &s)
		kept += int64(s.N)
		return err
	})
	if err == nil {
		lag, err = b.ledger.lag(ctx)
	}
	return
}

// check compares accounts, statements and what was published.
func (b *bank) check() {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	counts := make(map[string]int)
	var total int64
	for id := range accounts {
		var cents int64
		var n int
		b.must(b.ledger.row(ctx, fmt.Sprintf(`SELECT cents, n FROM accounts WHERE id = %d`, id), &cents, &n))
		total += cents
		counts[fmt.Sprint(id)] = n
		record, err := b.ledger.Load(ctx, contract.Scope{Group: b.role.Group, Topic: b.role.Topic}, fmt.Sprint(id))
		b.must(err)
		s := newStatement("")
		if record.Revision > 0 {
			b.must(json.Unmarshal(record.State, s))
		}
		if s.Cents != cents || s.N != n || len(s.Faults) > 0 {
			b.t.Errorf("account %d has %d cents after %d entries, and its statement %d after %d; %q", id, cents, n, s.Cents, s.N, s.Faults)
		}
	}
	if total != accounts*opening {
		b.t.Errorf("there are %d cents, and there were %d", total, accounts*opening)
	}
	if len(counts) == 0 || total == 0 {
		b.t.Error("nothing was done")
	}
	b.checkTopic(ctx, counts)
}

// checkTopic reads the topic from its beginning: every entry is there, each account's
// are in order, and what is there twice has the same id.
func (b *bank) checkTopic(ctx context.Context, counts map[string]int) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	sub, err := b.broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: b.role.Group + "-audit", Topics: []string{b.role.Topic}})
	b.must(err)
	arrived := make(chan brokers.Message)
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for {
				part, err := sub.Accept(ctx)
				if err != nil {
					return // it is over
				}
				for {
					batch, err := part.Fetch(ctx, brokers.FetchLimit{Messages: 500})
					if err != nil {
						break
					}
					for _, m := range batch {
						select {
						case arrived <- m:
						case <-ctx.Done():
							return
						}
					}
					if len(batch) > 0 { // there would be no more
						err = part.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset})
					}
					if err != nil {
						break
					}
				}
			}
		})
	}
	left, repeats := 0, 0
	for _, n := range counts {
		left += n
	}
	seen, last := make(map[string]bool), make(map[string]int)
	for left > 0 {
		select {
		case m := <-arrived:
			var e entry
			b.must(json.Unmarshal(m.Payload, &e))
			key := string(m.Key)
			if want := fmt.Sprintf("%s %s/%d", b.role.Topic, key, e.N); m.ID != want {
				b.t.Errorf("%s has the id %q", want, m.ID)
			}
			if seen[m.ID] {
				repeats++
				continue
			}
			if e.N != last[key]+1 {
				b.t.Errorf("account %s: entry %d after %d on the topic", key, e.N, last[key])
			}
			seen[m.ID], last[key] = true, e.N
			left--
		case <-ctx.Done():
			b.t.Fatalf("%d entries are not on the topic", left)
		}
	}
	b.t.Logf("%d entries on the topic, and %d repeats", len(seen), repeats)
	done()
	_ = sub.Close(ctx) // it is told not to wait
	reading.Wait()
}

// proxied is the URL of a proxy of its own before the server, and what cuts all its
// connections, for so long.
func proxied(t *testing.T, server string) (through string, cut func(time.Duration)) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	api := os.Getenv("TEST_TOXIPROXY_URL") + "/proxies"
	name := "bank-" + uuid.NewString()
	answer := call(t, "POST", api, map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": u.Host, "enabled": true})
	u.Host = answer.Listen
	t.Cleanup(func() { call(t, "DELETE", api+"/"+name, nil) })
	return u.String(), func(broken time.Duration) {
		call(t, "POST", api+"/"+name, map[string]any{"enabled": false})
		pause(t.Context(), broken)
		call(t, "POST", api+"/"+name, map[string]any{"enabled": true, "listen": answer.Listen})
	}
}
