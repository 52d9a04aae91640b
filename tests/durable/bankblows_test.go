package durable

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// strike deals blows for so long.
func (b *bank) strike(d time.Duration) {
	blows := map[string]func(){
		"a process killed": func() {
			p := b.processes[rand.IntN(len(b.processes))]
			b.kill(p)
			b.start(p)
		},
	}
	if b.postgres() {
		blows["a foreign transaction"] = b.leaveOpen
	}
	if b.cut != nil {
		blows["connections cut"] = func() { b.cut(time.Duration(rand.IntN(1000)) * time.Millisecond) }
	}
	if script := os.Getenv("TEST_SERVICES"); script != "" && os.Getenv("CHAOS_LONG") != "" {
		blows["the broker killed"] = func() { b.restart(script, b.service) }
		if b.postgres() {
			blows["PostgreSQL killed"] = func() { b.restart(script, "postgres") }
		}
	}
	var names []string
	for name := range blows {
		names = append(names, name)
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		pause(b.t.Context(), time.Duration(200+rand.IntN(1000))*time.Millisecond)
		name := names[rand.IntN(len(names))]
		if strings.HasSuffix(name, "r killed") || strings.HasSuffix(name, "L killed") { // not as often
			if rand.IntN(5) > 0 {
				name = "a process killed"
			}
		}
		b.blows[name]++
		blows[name]()
	}
}

func (b *bank) restart(script, service string) {
	for _, command := range []string{"kill", "start"} {
		if out, err := exec.CommandContext(b.t.Context(), "bash", script, command, service).CombinedOutput(); err != nil {
			b.t.Errorf("%s %s: %v\n%s", command, service, err, out)
		}
	}
}

// leaveOpen has a transaction open for up to 4 s that has nothing to do with the
// bank.
func (b *bank) leaveOpen() {
	b.foreign.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, b.role.Ledger)
		if err != nil {
			return // the server is being killed
		}
		defer func() { _ = conn.Close(ctx) }() // which rolls it back
		if _, err := conn.Exec(ctx, `BEGIN; SELECT pg_current_xact_id()`); err == nil {
			pause(ctx, time.Duration(rand.IntN(4000))*time.Millisecond)
		}
	})
}

// backup keeps the database as it is when all that was written is in the statements.
func (b *bank) backup() {
	if b.database == nil {
		return
	}
	b.settle()
	b.database.Backup()
	b.startWriters()
}

// restore puts the database back to the backup. Relays and members run on, and are
// told nothing: they are ahead of it, in what they remember and on the topic. What
// was undone has been handled by then, else it would be handled as if it were not.
func (b *bank) restore() {
	if b.database == nil {
		return
	}
	b.settle()
	b.ended = append(b.ended, b.entries())
	b.database.Restore()
	b.patiently(func(ctx context.Context) error {
		return b.ledger.exec(ctx, fmt.Sprintf(`UPDATE accounts SET era = %d`, len(b.ended)))
	})
	b.began = append(b.began, b.entries())
	b.blows["a restored backup"]++
	b.startWriters()
}

func (b *bank) startWriters() {
	for _, p := range b.processes[:writers] {
		b.start(p)
	}
}

// entries is how many each account has.
func (b *bank) entries() map[string]int {
	counts := make(map[string]int)
	b.patiently(func(ctx context.Context) error {
		for id := range accounts {
			var n int
			if err := b.ledger.row(ctx, fmt.Sprintf(`SELECT n FROM accounts WHERE id = %d`, id), &n); err != nil {
				return err
			}
			counts[fmt.Sprint(id)] = n
		}
		return nil
	})
	return counts
}

// patiently tries again for a while: connections of a pool were ended.
func (b *bank) patiently(f func(ctx context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			b.t.Fatal(err)
		}
	}
}

// proxied is the URL of a proxy of its own before the server, and what cuts all its
// connections, for so long.
func proxied(t *testing.T, server string) (through string, cut func(time.Duration)) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	api := os.Getenv("TEST_TOXIPROXY_URL") + "/proxies"
	name := "bank-" + uuid.NewString()
	answer := call(t, "POST", api, map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": u.Host, "enabled": true})
	u.Host = answer.Listen
	t.Cleanup(func() { call(t, "DELETE", api+"/"+name, nil) })
	return u.String(), func(broken time.Duration) {
		call(t, "POST", api+"/"+name, map[string]any{"enabled": false})
		pause(t.Context(), broken)
		call(t, "POST", api+"/"+name, map[string]any{"enabled": true, "listen": answer.Listen})
	}
}
