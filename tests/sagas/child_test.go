// Package sagas kills processes amid a thousand sagas, and checks that all of them
// go on at once and end the right way.
package sagas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/postgres"
	"github.com/troupe-go/troupe/sagas/sqlite"
)

// The environment of a child process: the store, a file or postgres://..., the file
// to which effects are appended, and whether the sagas may end.
const (
	childStore   = "TROUPE_TEST_SAGAS_STORE"
	childJournal = "TROUPE_TEST_SAGAS_JOURNAL"
	childMayEnd  = "TROUPE_TEST_SAGAS_MAY_END"
)

const instances = 1000

func TestMain(m *testing.M) {
	if store := os.Getenv(childStore); store != "" {
		if err := work(store); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// openStore opens what a child works on.
func openStore(ctx context.Context, name string) (store sagas.Store, closing func() error, err error) {
	if strings.HasPrefix(name, "postgres://") {
		db, err := outboxpostgres.Open(ctx, name, outboxpostgres.Config{})
		if err != nil {
			return nil, nil, err
		}
		store, err := postgres.New(ctx, db)
		return store, db.Close, err
	}
	db, err := outboxsqlite.Open(ctx, name, outboxsqlite.Config{})
	if err != nil {
		return nil, nil, err
	}
	store, err = sqlite.New(ctx, db)
	return store, db.Close, err
}

// trip is the state. One in three has its second step refused.
type trip struct{ Number int }

func (t trip) refused() bool { return t.Number%3 == 1 }

func id(number int) string { return "trip-" + strconv.Itoa(number) }

// child is a process with a runner.
type child struct {
	mayEnd  bool
	journal *os.File
	held    chan string // the keys of Calls that wait to be killed, or for go
	free    chan struct{}
}

// did appends an effect, in one write.
func (c *child) did(key string) error {
	_, err := c.journal.WriteString(key + "\n")
	return err
}

// call is an action that has an effect.
func (c *child) call(refuse bool) sagas.Action[trip] {
	return sagas.Call(time.Hour, func(_ context.Context, key string, t trip) (trip, error) {
		if refuse && t.refused() {
			return t, sagas.Reject("no room")
		}
		return t, c.did(key)
	})
}

// holding is a call that waits before its effect until sagas may end.
func (c *child) holding() sagas.Action[trip] {
	return sagas.Call(time.Hour, func(ctx context.Context, key string, t trip) (trip, error) {
		c.held <- key
		select {
		case <-c.free:
			return t, c.did(key)
		case <-ctx.Done():
			return t, context.Cause(ctx)
		}
	})
}

// definition has those that are not refused wait in their last step, and those that
// are in their compensation.
func (c *child) definition() *sagas.Definition[trip] {
	return &sagas.Definition[trip]{Name: "trip", Version: 1, Steps: []sagas.Step[trip]{
		{Name: "flight", Do: c.call(false), Undo: c.holding()},
		{Name: "hotel", Do: c.call(true), Undo: c.call(false)},
		{Name: "ticket", Kind: sagas.Pivot, Do: c.call(false)},
		{Name: "car", Kind: sagas.Retriable, Do: c.holding()},
	}}
}

// work has a thousand sagas at a Call at the same time, tells of it on stdout, and
// waits for their end.
func work(name string) (err error) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	journal, err := os.OpenFile(os.Getenv(childJournal), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c := &child{mayEnd: os.Getenv(childMayEnd) != "", journal: journal, held: make(chan string, instances), free: make(chan struct{})}
	store, closing, err := openStore(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	began := time.Now()
	runner, err := sagas.Open(ctx, sagas.Config[trip]{Definitions: []*sagas.Definition[trip]{c.definition()}, Store: store, Name: "me"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	if !c.mayEnd {
		if err := startAll(ctx, runner); err != nil {
			return err
		}
	}
	for range instances {
		<-c.held
	}
	fmt.Println(time.Since(began).Milliseconds())
	if !c.mayEnd {
		select {} // until it is killed
	}
	close(c.free)
	return awaitAll(ctx, runner)
}

func startAll(ctx context.Context, runner *sagas.Runner[trip]) error {
	return each(func(number int) error {
		_, err := runner.Start(ctx, id(number), trip{number})
		return err
	})
}

func awaitAll(ctx context.Context, runner *sagas.Runner[trip]) error {
	return each(func(number int) error {
		h, err := runner.Find(ctx, id(number))
		if err == nil {
			_, err = h.Wait(ctx)
		}
		return err
	})
}

// each calls f with each number, many at once.
func each(f func(number int) error) error {
	var all sync.WaitGroup
	errs := make([]error, instances)
	slots := make(chan struct{}, 100)
	for number := range instances {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[number] = f(number)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
