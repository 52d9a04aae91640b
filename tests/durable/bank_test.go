package durable

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/outbox/outboxtest"
)

// Writers move money between accounts, and relays and durable actors, in processes
// of their own, keep a statement of each account, while blows fall: processes are
// killed, connections cut, transactions left open, a backup of the database restored
// under those who use it; with CHAOS_LONG and TEST_SERVICES servers are killed as
// well. In the end every statement has each entry of its account once and in order,
// and the money is what it was, to the cent.
func TestBank(t *testing.T) {
	tests := map[string]struct {
		broker, service, options string
		ledger                   func(t *testing.T) (string, *outboxtest.Database)
	}{
		"SQLite, NATS": {"TEST_NATS_URL", "nats", "", func(t *testing.T) (string, *outboxtest.Database) {
			return "sqlite:" + filepath.Join(t.TempDir(), "bank.db"), nil
		}},
		"PostgreSQL, Kafka": {"TEST_KAFKA_URL", "kafka", "instance_id=member-%d", func(t *testing.T) (string, *outboxtest.Database) {
			d := outboxtest.PostgresDatabase(t)
			return d.URL, d
		}},
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
			b.role = role{Broker: server, Topic: "bank-" + uuid.NewString(), Group: "bank-" + uuid.NewString()}
			b.role.Ledger, b.database = test.ledger(t)
			b.open()
			// Each minute a backup is made, and restored.
			rounds := 1 + duration(t)/time.Minute
			part := duration(t) / rounds / 3
			for range rounds {
				b.strike(part)
				b.backup()
				b.strike(part)
				b.restore()
				b.strike(part)
			}
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
	t            *testing.T
	role         role
	service      string
	options      string // of the broker's DSN, by member
	ledger       *ledger
	broker       brokers.Broker
	cut          func(broken time.Duration) // nil if there is no toxiproxy
	blows        map[string]int
	database     *outboxtest.Database // nil if it cannot be restored
	began, ended []map[string]int     // how many entries each account had in each era

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
		err := t.exec(`CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents BIGINT NOT NULL, era INTEGER NOT NULL, n INTEGER NOT NULL)`)
		for id := 0; id < accounts && err == nil; id++ {
			err = t.exec(fmt.Sprintf(`INSERT INTO accounts VALUES (%d, %d, 0, 0)`, id, opening))
		}
		return err
	}))
	b.broker, err = brokers.Open(ctx, b.role.Broker, kafka.Driver, nats.Driver)
	b.must(err)
	b.t.Cleanup(func() { _ = b.broker.Close() })
	b.must(b.broker.EnsureTopic(ctx, brokers.TopicConfig{Name: b.role.Topic, Partitions: 4, Groups: []string{b.role.Group, b.role.Group + "-audit"}}))
	b.began = append(b.began, b.entries())
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
