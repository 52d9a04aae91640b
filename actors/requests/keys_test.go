package requests_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	client "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/requests"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 4

type (
	deposit    struct{ Pence int }
	getBalance struct{}
	balance    struct {
		Pence int
		From  string // the member
	}
	fail struct{}
)

type account struct {
	pence  int
	member string
}

func accounts(member string) *actors.Blueprint[account] {
	b := actors.PerKey(func(string) *account { return &account{member: member} })
	actors.On(b, "deposit", func(a *account, _ *actors.Context, d deposit) error { a.pence += d.Pence; return nil })
	actors.OnRequest(b, "getBalance", func(a *account, _ *actors.Context, _ getBalance) (balance, error) {
		return balance{a.pence, a.member}, nil
	})
	actors.OnRequest(b, "fail", func(*account, *actors.Context, fail) (balance, error) {
		return balance{Pence: 1}, &brokers.ReplyError{Code: "closed", Message: "the account is closed"}
	})
	return b
}

// bus is a broker that requests travel by as well.
type bus interface {
	brokers.Broker
	brokers.Requests
}

// bank is the names of one test, on one server.
type bank struct {
	*testing.T

	connect              func() bus
	group, topic, served string
	// idle: a partition has an owner before its first event.
	idle bool
}

// onEach runs a test over each driver that has requests.
func onEach(t *testing.T, test func(b *bank)) {
	t.Helper()
	for name, start := range map[string]func(t *testing.T) (connect func() (bus, error)){
		"NATS": startNATS, "RabbitMQ": startRabbitMQ,
	} {
		t.Run(name, func(t *testing.T) {
			open, own := start(t), uuid.NewString()
			test(&bank{T: t, idle: name == "NATS", group: "bank-" + own, topic: "deposits-" + own, served: "balances-" + own, connect: func() bus {
				b, err := open()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = b.Close() })
				return b
			}})
		})
	}
}

func startNATS(t *testing.T) func() (bus, error) {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() (bus, error) {
		return nats.Open(t.Context(), nats.Config{
			Options:   []client.Option{client.InProcessServer(server)},
			PinnedTTL: 2 * time.Second, MemberInterval: 100 * time.Millisecond, FailoverAfter: time.Second,
		})
	}
}

func startRabbitMQ(t *testing.T) func() (bus, error) {
	t.Helper()
	url := os.Getenv("TEST_AMQP_URL")
	if url == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal("TEST_AMQP_URL is not set")
		}
		t.Skip("TEST_AMQP_URL is not set")
	}
	dsn, err := brokers.ParseDSN(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := rabbitmq.ConfigFrom(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MemberInterval, cfg.FailoverAfter = 100*time.Millisecond, time.Second
	return func() (bus, error) { return rabbitmq.Open(t.Context(), cfg) }
}

func (b *bank) ensure(by bus) {
	b.Helper()
	if err := by.EnsureTopic(b.Context(), brokers.TopicConfig{Name: b.topic, Partitions: partitions, Groups: []string{b.group}}); err != nil {
		b.Fatal(err)
	}
}

// member runs a system whose accounts answer, and returns what stops it.
func (b *bank) member(name string) (stop func()) {
	b.Helper()
	t, by := b.T, b.connect()
	keys, err := requests.NewKeys(requests.KeysConfig{
		Client: requests.Client{Broker: by}, Topic: b.served, Group: b.group, Of: b.topic, Partitions: partitions,
	})
	if err != nil {
		t.Fatal(err)
	}
	requests.On[getBalance, balance](keys)
	requests.On[fail, balance](keys)
	sys, err := actors.NewSystem(actors.Config{Observe: keys.Observe, DrainTimeout: 2 * time.Second},
		actors.Subscription{Group: b.group, Broker: by, Topics: []string{b.topic}, Actor: accounts(name)})
	if err != nil {
		t.Fatal(err)
	}
	answering, end := context.WithCancel(context.Background())
	running, halt := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := keys.Run(answering, sys); err != nil {
			t.Error(err)
		}
		halt()
	})
	wg.Go(func() {
		if _, err := sys.Run(running); err != nil {
			t.Error(err)
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { end(); wg.Wait(); _ = by.Close() }) }
	t.Cleanup(stop)
	return stop
}

func key(i int) []byte { return fmt.Appendf(nil, "account %d", i) }

const accountsOfTest = 40

func (b *bank) pay(p *brokers.Publisher) {
	b.Helper()
	for i := range accountsOfTest {
		_, err := p.Publish(b.Context(), brokers.Message{
			Topic: b.topic, Key: key(i), Payload: fmt.Appendf(nil, `{"Pence": %d}`, i+1),
			Headers: brokers.Headers{{Key: "type", Value: []byte("deposit")}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bank) tryAsk(ctx context.Context, by bus, i int) (balance, error) {
	return requests.Ask[getBalance, balance](ctx, requests.Client{Broker: by}, requests.To{Topic: b.served, Key: key(i)}, getBalance{})
}

// owner says which member answers for an account; none if its partition has no
// owner, as between a move and the next event.
func (b *bank) owner(by bus, i int) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Second)
	defer cancel()
	got, err := b.tryAsk(ctx, by, i)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.Fatalf("account %d: %v", i, err)
	}
	return got.From
}

// asked asks an account until it has seen all events, and says who answered.
func (b *bank) asked(by bus, i int, done func(balance) bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	for {
		got, err := b.tryAsk(ctx, by, i)
		switch {
		case errors.Is(err, brokers.ErrNoResponders): // the member has just been started
		case err != nil:
			b.Fatalf("account %d: %v", i, err)
		case done(got):
			return
		}
		select {
		case <-ctx.Done():
			b.Fatalf("account %d: %+v", i, got)
		case <-time.After(5 * time.Millisecond): // events and requests have no order
		}
	}
}

// Each key answers from wherever its partition lives, also when that changes.
func TestKeysAnswerWhereverTheyLive(t *testing.T) {
	onEach(t, func(b *bank) {
		asker := b.connect()
		b.ensure(asker)
		p, err := asker.Publisher(brokers.PublisherConfig{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := b.tryAsk(b.Context(), asker, 0); !errors.Is(err, brokers.ErrNoResponders) {
			b.Errorf("before there is anybody: %v; want ErrNoResponders", err)
		}
		if !b.idle {
			b.pay(p)
		}
		stopA := b.member("a")
		if b.idle {
			b.asked(asker, 0, func(got balance) bool { return got == balance{From: "a"} }) // nobody has ever paid
			b.pay(p)
		}
		for i := range accountsOfTest {
			b.asked(asker, i, func(got balance) bool { return got.Pence == i+1 && got.From == "a" })
		}
		b.member("b")
		// Half of the partitions move, which shows without any event, or with one on each.
		ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
		defer cancel()
		for both := false; !both; {
			if !b.idle {
				b.pay(p)
			}
			from := map[string]int{}
			for i := range accountsOfTest {
				name := b.owner(asker, i)
				if name == "" {
					break // the next payment brings one
				}
				from[name]++
			}
			both = from["a"] > 0 && from["b"] > 0
			if ctx.Err() != nil {
				b.Fatal(from)
			}
		}
		stopA()
		if !b.idle {
			b.pay(p)
		}
		for i := range accountsOfTest {
			b.asked(asker, i, func(got balance) bool { return got.From == "b" })
		}
	})
}

func TestKeysErrors(t *testing.T) {
	onEach(t, func(b *bank) {
		asker := b.connect()
		b.ensure(asker)
		p, err := asker.Publisher(brokers.PublisherConfig{})
		if err != nil {
			b.Fatal(err)
		}
		b.pay(p)
		b.member("a")
		c := requests.Client{Broker: asker}
		to := requests.To{Topic: b.served, Key: key(1)}
		b.asked(asker, 1, func(got balance) bool { return got.Pence == 2 })
		got, err := requests.Ask[fail, balance](b.Context(), c, to, fail{})
		if code(err) != "closed" || got != (balance{}) {
			b.Errorf("a handler's own error: %+v, %v", got, err)
		}
		if _, err := requests.Ask[getBalance, balance](b.Context(), c, requests.To{Topic: b.served}, getBalance{}); code(err) != brokers.CodeInvalid {
			b.Errorf("without a key: %v", err)
		}
		if _, err := requests.Ask[deposit, balance](b.Context(), c, to, deposit{}); code(err) != brokers.CodeInvalid {
			b.Errorf("of a type that nobody answers: %v", err)
		}
	})
}

func code(err error) string {
	var e *brokers.ReplyError
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return e.Code
}

func TestKeysConfig(t *testing.T) {
	c := requests.Client{Broker: (*nats.Broker)(nil)}
	for name, cfg := range map[string]requests.KeysConfig{
		"Broker":     {},
		"Topic":      {Client: c},
		"Partitions": {Client: c, Topic: "t", Group: "g", Of: "o"},
	} {
		if _, err := requests.NewKeys(cfg); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("a wrong %s: %v; want ErrInvalid", name, err)
		}
	}
}
