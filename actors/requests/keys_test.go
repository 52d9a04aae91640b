package requests_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/requests"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
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

func startServer(t *testing.T) *embedded.Server {
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
	return server
}

func connect(t *testing.T, server *embedded.Server) *nats.Broker {
	t.Helper()
	b, err := nats.Open(t.Context(), nats.Config{
		Options:   []client.Option{client.InProcessServer(server)},
		PinnedTTL: 2 * time.Second, MemberInterval: 100 * time.Millisecond, FailoverAfter: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// member runs a system whose accounts answer, and returns what stops it.
func member(t *testing.T, server *embedded.Server, name string) (stop func()) {
	t.Helper()
	b := connect(t, server)
	keys, err := requests.NewKeys(requests.KeysConfig{
		Client: requests.Client{Broker: b}, Topic: "balances", Group: "bank", Of: "deposits", Partitions: partitions,
	})
	if err != nil {
		t.Fatal(err)
	}
	requests.On[getBalance, balance](keys)
	requests.On[fail, balance](keys)
	sys, err := actors.NewSystem(actors.Config{Observe: keys.Observe, DrainTimeout: 2 * time.Second},
		actors.Subscription{Group: "bank", Broker: b, Topics: []string{"deposits"}, Actor: accounts(name)})
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
	stop = func() { once.Do(func() { end(); wg.Wait(); _ = b.Close() }) }
	t.Cleanup(stop)
	return stop
}

func key(i int) []byte { return fmt.Appendf(nil, "account %d", i) }

const accountsOfTest = 40

func pay(t *testing.T, p *brokers.Publisher) {
	t.Helper()
	for i := range accountsOfTest {
		_, err := p.Publish(t.Context(), brokers.Message{
			Topic: "deposits", Key: key(i), Payload: fmt.Appendf(nil, `{"Pence": %d}`, i+1),
			Headers: brokers.Headers{{Key: "type", Value: []byte("deposit")}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func tryAsk(ctx context.Context, b *nats.Broker, i int) (balance, error) {
	return requests.Ask[getBalance, balance](ctx, requests.Client{Broker: b}, requests.To{Topic: "balances", Key: key(i)}, getBalance{})
}

// asked asks an account until it has seen all events, and says who answered.
func asked(t *testing.T, b *nats.Broker, i int, done func(balance) bool) balance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		got, err := tryAsk(ctx, b, i)
		switch {
		case errors.Is(err, brokers.ErrNoResponders): // the member has just been started
		case err != nil:
			t.Fatalf("account %d: %v", i, err)
		case done(got):
			return got
		}
		select {
		case <-ctx.Done():
			t.Fatalf("account %d: %+v", i, got)
		case <-time.After(5 * time.Millisecond): // events and requests have no order
		}
	}
}

// Each key answers from wherever its partition lives, also when that changes.
func TestKeysAnswerWhereverTheyLive(t *testing.T) {
	server := startServer(t)
	asker := connect(t, server)
	if err := asker.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "deposits", Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	p, err := asker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = requests.Ask[getBalance, balance](t.Context(), requests.Client{Broker: asker}, requests.To{Topic: "balances", Key: key(0)}, getBalance{})
	if !errors.Is(err, brokers.ErrNoResponders) {
		t.Errorf("before there is anybody: %v; want ErrNoResponders", err)
	}
	stopA := member(t, server, "a")
	asked(t, asker, 0, func(b balance) bool { return b == balance{From: "a"} }) // nobody has ever paid
	pay(t, p)
	for i := range accountsOfTest {
		asked(t, asker, i, func(b balance) bool { return b.Pence == i+1 && b.From == "a" })
	}
	member(t, server, "b")
	// Half of the partitions move, without an event on any.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for from := map[string]int{}; from["a"] == 0 || from["b"] == 0; {
		clear(from)
		for i := range accountsOfTest {
			got, err := tryAsk(ctx, asker, i)
			if err != nil {
				t.Fatalf("account %d: %v", i, err)
			}
			from[got.From]++
		}
	}
	stopA()
	for i := range accountsOfTest {
		asked(t, asker, i, func(b balance) bool { return b.From == "b" })
	}
}

func TestKeysErrors(t *testing.T) {
	server := startServer(t)
	asker := connect(t, server)
	if err := asker.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "deposits", Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	p, err := asker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	pay(t, p)
	member(t, server, "a")
	c := requests.Client{Broker: asker}
	asked(t, asker, 1, func(b balance) bool { return b.Pence == 2 })
	code := func(err error) string {
		var e *brokers.ReplyError
		if !errors.As(err, &e) {
			return fmt.Sprint(err)
		}
		return e.Code
	}
	got, err := requests.Ask[fail, balance](t.Context(), c, requests.To{Topic: "balances", Key: key(1)}, fail{})
	if code(err) != "closed" || got != (balance{}) {
		t.Errorf("a handler's own error: %+v, %v", got, err)
	}
	if _, err := requests.Ask[getBalance, balance](t.Context(), c, requests.To{Topic: "balances"}, getBalance{}); code(err) != brokers.CodeInvalid {
		t.Errorf("without a key: %v", err)
	}
	if _, err := requests.Ask[deposit, balance](t.Context(), c, requests.To{Topic: "balances", Key: key(1)}, deposit{}); code(err) != brokers.CodeInvalid {
		t.Errorf("of a type that nobody answers: %v", err)
	}
	for name, cfg := range map[string]requests.KeysConfig{
		"Broker":     {},
		"Topic":      {Client: c},
		"Partitions": {Client: c, Topic: "t", Group: "g", Of: "o"},
	} {
		if _, err := requests.NewKeys(cfg); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("a wrong %s: %v; want ErrInvalid", name, err)
		}
	}
}
