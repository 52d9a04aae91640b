package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troupe-go/troupe/outbox/postgres"
)

const (
	rowSize     = 512    // bytes of a payload
	rowKeys     = 10_000 // of messages
	connections = 16
)

// database is a schema of its own on the server of TEST_PG_URL.
type database struct {
	url    string
	schema string
	pool   *pgxpool.Pool
	store  *postgres.Store
	body   []byte
	keys   [][]byte
}

// onPostgres has tables made there. The schema is dropped afterwards.
func onPostgres(tables ...func(*database, *options) (table, error)) func(*options) ([]table, error) {
	return func(o *options) (made []table, err error) {
		d, drop, err := newDatabase()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop()) }()
		for _, run := range tables {
			t, err := run(d, o)
			if err != nil {
				return nil, err
			}
			made = append(made, t)
		}
		return made, nil
	}
}

func newDatabase() (d *database, drop func() error, err error) {
	server := os.Getenv("TEST_PG_URL")
	if server == "" {
		return nil, nil, fmt.Errorf("%w: TEST_PG_URL is not set", errNoServer)
	}
	at, err := url.Parse(server)
	if err != nil {
		return nil, nil, fmt.Errorf("TEST_PG_URL: %w", err)
	}
	ctx := context.Background()
	schema := "peers_" + strings.ReplaceAll(uuid.NewString()[:8], "-", "")
	query := at.Query()
	query.Set("search_path", schema)
	query.Set("pool_max_conns", fmt.Sprint(2*connections))
	at.RawQuery = query.Encode()
	d = &database{url: at.String(), schema: schema, body: noise(rowSize), keys: keysNamed(rowKeys)}
	if d.pool, err = pgxpool.New(ctx, d.url); err != nil {
		return nil, nil, err
	}
	drop = func() error {
		defer d.pool.Close()
		_, err := d.pool.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE; DROP SCHEMA IF EXISTS "+schema+"_dbos CASCADE")
		return err
	}
	if _, err := d.pool.Exec(ctx, "CREATE SCHEMA "+schema+"; CREATE TABLE accounts (id integer PRIMARY KEY, total bigint NOT NULL);"+
		"INSERT INTO accounts SELECT n, 0 FROM generate_series(0, 9999) n"); err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	if d.store, err = postgres.New(d.pool, postgres.Config{}); err == nil {
		err = d.store.Migrate(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	return d, drop, nil
}
