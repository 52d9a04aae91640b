package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/google/uuid"

	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
	sagaspostgres "github.com/troupe-go/troupe/sagas/postgres"
	sagassqlite "github.com/troupe-go/troupe/sagas/sqlite"
)

// atOnce are how many sagas run at the same time, and how many are measured.
var atOnce = []struct{ sagas, n int }{{1, 300}, {8, 2000}, {64, 5000}, {1000, 10_000}}

// purchase is the state of a saga.
type purchase struct{ N int }

// sagaTables have sagas of three steps that do nothing run to their end, and as
// many workflows of the peers.
func sagaTables[D any](of func(d D, o *options, many, n int) (table, error)) (tables []func(D, *options) (table, error)) {
	for _, at := range atOnce {
		tables = append(tables, func(d D, o *options) (table, error) { return of(d, o, at.sagas, o.messages(at.n)) })
	}
	return tables
}

func (d *database) sagaTable(o *options, many, n int) (table, error) {
	_, err := d.pool.Exec(context.Background(), `CREATE TABLE IF NOT EXISTS purchases (id text PRIMARY KEY, step integer NOT NULL, state bytea NOT NULL)`)
	if err != nil {
		return table{}, err
	}
	store, err := sagaspostgres.New(context.Background(), d.store)
	if err != nil {
		return table{}, err
	}
	const bare, other = "pgx, a commit for each of 5 transitions", "DBOS"
	return o.compete(fmt.Sprintf("Sagas of 3 local steps, PostgreSQL, %d at once", many), []contender{
		{bare, "", n, func(n int) (run, clean func() error, err error) {
			return func() error { return together(many, n, d.bareSaga) }, nil, nil
		}},
		{other, bare, max(1, n/4), d.prepareDBOS(many)},
		{"troupe", bare, n, prepareSagas(store, many)},
		{byMessages, bare, max(1, n/2), prepareMessages(store, d.sources(), many)},
	})
}

// byMessages are the same sagas with other steps.
const byMessages = "troupe, steps by messages over embedded JetStream"

// sources are the outbox.
func (d *database) sources() (all []outbox.Source) {
	for _, shard := range d.store.Shards() {
		all = append(all, shard)
	}
	return all
}

const transitions = 5 // start, three steps, end

// bareSaga is the loop that one would write: the instance's row, each transition a
// commit.
func (d *database) bareSaga() error {
	ctx, id := context.Background(), uuid.NewString()
	if _, err := d.pool.Exec(ctx, `INSERT INTO purchases (id, step, state) VALUES ($1, 0, $2)`, id, []byte(`{"N":0}`)); err != nil {
		return err
	}
	for step := 1; step < transitions; step++ {
		if _, err := d.pool.Exec(ctx, `UPDATE purchases SET step = $2, state = $3 WHERE id = $1`, id, step, []byte(`{"N":1}`)); err != nil {
			return err
		}
	}
	return nil
}

func (d *database) prepareDBOS(many int) prepare {
	return func(n int) (run, clean func() error, err error) {
		ctx, err := dbos.NewContext(context.Background(), dbos.Config{
			AppName: "peers", DatabaseURL: d.url, DatabaseSchema: d.schema + "_dbos", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, nil, err
		}
		dbos.RegisterWorkflow(ctx, threeSteps)
		if err := dbos.Launch(ctx); err != nil {
			return nil, nil, err
		}
		run = func() error {
			return together(many, n, func() error {
				handle, err := dbos.RunWorkflow(ctx, threeSteps, purchase{})
				if err != nil {
					return err
				}
				_, err = handle.GetResult()
				return err
			})
		}
		return run, func() error { return dbos.Shutdown(ctx, time.Minute) }, nil
	}
}

func threeSteps(ctx dbos.Context, p purchase) (purchase, error) {
	for range 3 {
		var err error
		p, err = dbos.RunAsStep(ctx, func(context.Context) (purchase, error) { return p, nil })
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// prepareSagas runs them on a store.
func prepareSagas(store sagas.Store, many int) prepare {
	return func(n int) (run, clean func() error, err error) {
		nop := sagas.Call(time.Minute, func(_ context.Context, _ string, p purchase) (purchase, error) { return p, nil })
		ctx := context.Background()
		runner, err := sagas.Open(ctx, sagas.Config[purchase]{Store: store, Name: "peers", Definitions: []*sagas.Definition[purchase]{{
			Name: "purchase", Version: 1, Steps: []sagas.Step[purchase]{
				{Name: "reserve", Do: nop, Undo: nop}, {Name: "charge", Kind: sagas.Pivot, Do: nop}, {Name: "ship", Kind: sagas.Retriable, Do: nop},
			},
		}}})
		if err != nil {
			return nil, nil, err
		}
		return runSagas(runner, many, n), runner.Close, nil
	}
}

func (l *lite) sagaTable(o *options, many, n int) (table, error) {
	ctx := context.Background()
	store, err := sagassqlite.New(ctx, l.store)
	if err != nil {
		return table{}, err
	}
	_, err = l.store.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS purchases (id TEXT PRIMARY KEY, step INTEGER NOT NULL, state BLOB NOT NULL)`)
	if err != nil {
		return table{}, err
	}
	const bare = "a commit for each of 5 transitions"
	return o.compete(fmt.Sprintf("Sagas of 3 local steps, SQLite, %d at once", many), []contender{
		{bare, "", n, func(n int) (run, clean func() error, err error) {
			// More would time out: SQLite has those who write wait for each other unfairly.
			return func() error { return together(min(many, connections), n, l.bareSaga) }, nil, nil
		}},
		{"troupe", bare, n, prepareSagas(store, many)},
		{byMessages, bare, max(1, n/2), prepareMessages(store, []outbox.Source{l.store}, many)},
	})
}

func (l *lite) bareSaga() error {
	ctx, id := context.Background(), uuid.NewString()
	_, err := l.store.DB().ExecContext(ctx, `INSERT INTO purchases (id, step, state) VALUES (?, 0, ?)`, id, []byte(`{"N":0}`))
	for step := 1; step < transitions && err == nil; step++ {
		_, err = l.store.DB().ExecContext(ctx, `UPDATE purchases SET step = ?, state = ? WHERE id = ?`, step, []byte(`{"N":1}`), id)
	}
	return err
}
