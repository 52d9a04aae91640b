package sqlite_test

import (
	"strings"
	"testing"

	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas/sqlite"
)

// Tables that are older than the count of versions are taken over, newer ones are
// refused.
func TestMigrate(t *testing.T) {
	db, err := outboxsqlite.Open(t.Context(), t.TempDir()+"/app.db", outboxsqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := db.DB().ExecContext(t.Context(), sqlite.Migrations()[0]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := sqlite.New(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.DB().ExecContext(t.Context(), `UPDATE troupe_saga_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.New(t.Context(), db); err == nil || !strings.Contains(err.Error(), "version 99 by troupe_saga_schema") {
		t.Errorf("tables of the future: %v", err)
	}
}
