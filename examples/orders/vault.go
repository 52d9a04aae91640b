package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

// database is a store of states that can tell all of them.
type database interface {
	durable.Store
	Each(ctx context.Context, group, topic string, f func(key string, r durable.Record) error) error
	Close() error
}

// vault is what -store names: where the states of customers are, and what the
// groups publish until the relay has it.
type vault struct {
	database

	prefix  string
	sources []outbox.Source
	listen  func(ctx context.Context) error // nil: nobody else writes to it
}

// openVault opens the store of the options, nil if there is none, and gives the
// job the name of the run that it keeps.
func openVault(ctx context.Context, j *job) (*vault, error) {
	if j.options.store == "" {
		return nil, nil
	}
	v, err := openDatabase(ctx, j.options.store)
	if err != nil {
		return nil, err
	}
	v.prefix = j.options.prefix
	if j.progress.run, err = v.run(ctx, keptRun{j.progress.run, j.input.name, j.input.rows}); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func openDatabase(ctx context.Context, store string) (*vault, error) {
	if path, ok := strings.CutPrefix(store, "sqlite:"); ok {
		s, err := sqlite.Open(ctx, path, sqlite.Config{})
		if err != nil {
			return nil, err
		}
		return &vault{database: s, sources: []outbox.Source{s}}, nil
	}
	if !strings.HasPrefix(store, "postgres://") && !strings.HasPrefix(store, "postgresql://") {
		return nil, errors.New("-store is neither sqlite:FILE nor a postgres:// URL")
	}
	s, err := postgres.Open(ctx, store, postgres.Config{})
	if err != nil {
		return nil, err
	}
	v := &vault{database: s, listen: s.Listen}
	for _, shard := range s.Shards() {
		v.sources = append(v.sources, shard)
	}
	return v, nil
}

// close closes the store. A nil vault has none.
func (v *vault) close() error {
	if v == nil {
		return nil
	}
	return v.Close()
}

// keptRun is the run that a store is of. Its name is a part of each message's id,
// so a run that goes on must have it again.
type keptRun struct {
	Name, Input string
	Rows        int
}

// run is the name of the store's run; the one offered, if it has none yet. A store
// is of one run.
func (v *vault) run(ctx context.Context, offered keptRun) (string, error) {
	scope := durable.Scope{Group: v.prefix + "orders", Topic: v.prefix + linesTopic}
	record, err := v.Load(ctx, scope, "run")
	if err != nil {
		return "", err
	}
	if record.Revision == 0 {
		return offered.Name, v.keep(ctx, scope, offered)
	}
	var kept keptRun
	if err := json.Unmarshal(record.State, &kept); err != nil {
		return "", fmt.Errorf("-store: the run: %w", err)
	}
	if kept.Input != offered.Input || kept.Rows != offered.Rows {
		return "", fmt.Errorf("-store is of %s with %d rows, and this is %s with %d", kept.Input, kept.Rows, offered.Input, offered.Rows)
	}
	return kept.Name, nil
}

func (v *vault) keep(ctx context.Context, scope durable.Scope, r keptRun) error {
	token, err := v.Acquire(ctx, scope)
	if err != nil {
		return err
	}
	state, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return v.Commit(ctx, []durable.Unit{{Scope: scope, Token: token, Key: "run", Version: 1, State: state}})
}

// work runs the relays until ctx ends, and looks how far the groups are.
func (v *vault) work(ctx context.Context, j *job) error {
	var mu sync.Mutex
	var errs []error
	var relays sync.WaitGroup
	run := func(f func(context.Context) error) {
		relays.Go(func() {
			err := f(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	for _, source := range v.sources {
		// A short lease, as nobody gives back that of a process that was killed.
		r, err := outbox.NewRelay(outbox.Config{Source: source, Broker: j.broker, Lease: 2 * time.Second})
		if err != nil {
			return err
		}
		run(r.Run)
	}
	if v.listen != nil {
		run(v.listen)
	}
	run(func(ctx context.Context) error { return v.look(ctx, j.progress) })
	relays.Wait()
	return errors.Join(errs...)
}

// look tells progress what the states say, until all is done.
func (v *vault) look(ctx context.Context, p *progress) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := v.counted(ctx, p)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case done:
			p.finish()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// counted says whether both groups have decided all rows, and all is published.
func (v *vault) counted(ctx context.Context, p *progress) (bool, error) {
	done := true
	for _, group := range []string{ledgerGroup, returnsGroup} {
		rows := int64(0)
		err := v.Each(ctx, v.prefix+group, v.prefix+linesTopic, func(_ string, r durable.Record) error {
			var counted struct {
				Rows int64 `json:"rows"`
			}
			err := json.Unmarshal(r.State, &counted)
			rows += counted.Rows
			return err
		})
		if err != nil {
			return false, err
		}
		p.groups[group].count.Store(rows)
		done = done && rows == int64(p.rows)
	}
	for _, source := range v.sources {
		lag, err := source.Lag(ctx)
		if err != nil || lag.Rows > 0 {
			return false, err
		}
	}
	return done, nil
}

// totals adds up the states.
func (v *vault) totals(ctx context.Context, t *totals) error {
	topic := v.prefix + linesTopic
	err := v.Each(ctx, v.prefix+ledgerGroup, topic, func(customer string, r durable.Record) error {
		s := newStoredAccount(customer)
		if err := json.Unmarshal(r.State, s); err != nil {
			return err
		}
		t.addAccount(customer, s.Account)
		return nil
	})
	if err != nil {
		return err
	}
	return v.Each(ctx, v.prefix+returnsGroup, topic, func(customer string, r durable.Record) error {
		s := newStoredCustomer(customer)
		if err := json.Unmarshal(r.State, s); err != nil {
			return err
		}
		t.unfound += s.Unfound
		t.addCustomer(customer, s.Customer)
		return nil
	})
}
