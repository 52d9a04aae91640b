package outboxtest

import (
	"context"
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
	server := os.Getenv("TEST_PG_URL")
	if server == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal("TEST_PG_URL is not set")
		}
		t.Skip("TEST_PG_URL is not set")
	}
	schema := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	do := func(statement string) {
		conn, err := pgx.Connect(context.Background(), server)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }() // nothing is under way
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Error(err)
		}
	}
	do("CREATE SCHEMA " + schema)
	t.Cleanup(func() { do("DROP SCHEMA " + schema + " CASCADE") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}
