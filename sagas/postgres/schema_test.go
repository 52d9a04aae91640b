package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/troupe-go/troupe/outbox/outboxtest"
	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/sagas/postgres"
)

// Many may make the tables at once, others find them made with a tool of their own,
// and newer ones are refused.
func TestMigrate(t *testing.T) {
	db, err := outboxpostgres.Open(t.Context(), outboxtest.PostgresURL(t), outboxpostgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := postgres.New(t.Context(), db); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := db.Pool().Exec(t.Context(), `UPDATE troupe_saga_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.New(t.Context(), db); err == nil || !strings.Contains(err.Error(), "version 99 by troupe_saga_schema") {
		t.Errorf("tables of the future: %v", err)
	}
	_, err = db.Pool().Exec(t.Context(), `DROP TABLE troupe_saga_schema, troupe_sagas, troupe_saga_log, troupe_saga_inbox, troupe_saga_early, troupe_saga_runners;`+
		strings.Join(postgres.Migrations(), ";")+`; CREATE TABLE troupe_saga_schema (version integer NOT NULL); INSERT INTO troupe_saga_schema VALUES (1)`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.New(t.Context(), db); err != nil {
		t.Error(err)
	}
}
