package outboxtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PostgresURL makes a schema for the test in the database of TEST_PG_URL, and
// returns a URL that leads into it. Without the variable the test is skipped, or
// fails if REQUIRE_BROKERS=1.
func PostgresURL(t testing.TB) string {
	t.Helper()
	schema := unique("test")
	execute(t, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { execute(t, "DROP SCHEMA "+schema+" CASCADE") })
	u := serverURL(t)
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

// Database is a database of a test's own, with one backup. Its methods are for one
// goroutine.
type Database struct {
	URL string

	t    testing.TB
	name string
}

// PostgresDatabase makes a database on the server of TEST_PG_URL, whose user must be
// allowed to. Without the variable it does as [PostgresURL].
func PostgresDatabase(t testing.TB) *Database {
	t.Helper()
	u, name := serverURL(t), unique("test")
	u.Path = "/" + name
	d := &Database{URL: u.String(), t: t, name: name}
	t.Cleanup(func() {
		execute(t, d.drop(d.name), d.drop(d.backup()))
	})
	execute(t, "CREATE DATABASE "+name)
	return d
}

func (d *Database) backup() string { return d.name + "_backup" }

func (d *Database) drop(name string) string {
	return "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"
}

// Backup keeps the database as it is now. It ends all connections.
func (d *Database) Backup() {
	d.t.Helper()
	d.alone(d.drop(d.backup()), "CREATE DATABASE "+d.backup()+" TEMPLATE "+d.name)
}

// Restore has the backup take the place of the database, while those who use it run
// and are told nothing. It ends all connections.
func (d *Database) Restore() {
	d.t.Helper()
	d.alone(d.drop(d.name), fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", d.name, d.backup()))
}

// alone executes statements while nobody is connected or can connect.
func (d *Database) alone(statements ...string) {
	d.t.Helper()
	execute(d.t, "ALTER DATABASE "+d.name+" ALLOW_CONNECTIONS false",
		fmt.Sprintf("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '%s'", d.name))
	execute(d.t, statements...)
	execute(d.t, "ALTER DATABASE "+d.name+" ALLOW_CONNECTIONS true")
}

func unique(prefix string) string {
	return prefix + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

func serverURL(t testing.TB) *url.URL {
	t.Helper()
	server := os.Getenv("TEST_PG_URL")
	if server == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal("TEST_PG_URL is not set")
		}
		t.Skip("TEST_PG_URL is not set")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("TEST_PG_URL: %v", err)
	}
	return u
}

// execute executes statements in the server's database.
func execute(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.Background() // also after the test
	conn, err := pgx.Connect(ctx, serverURL(t).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is under way
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
