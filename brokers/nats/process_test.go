package nats_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// process is a nats-server of its own, which can be killed and started again.
type process struct {
	tb      testing.TB
	program string
	address string
	dir     string
	cmd     *exec.Cmd
}

// serverProgram finds the server that tests/services has installed, or another.
func serverProgram(tb testing.TB) string {
	tb.Helper()
	_ = serverURL(tb) // skips where there are to be no real servers
	if path, err := exec.LookPath("nats-server"); err == nil {
		return path
	}
	state := os.Getenv("SERVICES_DIR")
	if state == "" {
		state = filepath.Join(os.TempDir(), "troupe-services")
	}
	path := filepath.Join(state, "bin", "nats-server")
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	return path
}

func newProcess(tb testing.TB) *process {
	tb.Helper()
	program := serverProgram(tb)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{tb: tb, program: program, address: l.Addr().String(), dir: tb.TempDir()}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	p.start()
	tb.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.tb.Helper()
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.cmd = exec.Command(p.program, "-a", "127.0.0.1", "-p", port, "-js", "-sd", p.dir)
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	eventually(p.tb, "the server listens", func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // "killed"
	p.cmd = nil
}

func (p *process) signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatal(err)
	}
}

// A server that is killed, or hangs, for longer than any lease: reading goes on
// within 10 s of its return, from the first message that is not acknowledged,
// with nothing lost or out of order. Health says so, and the log does, once.
func TestServerDies(t *testing.T) {
	t.Parallel()
	for title, fault := range map[string]struct{ down, up func(*process) }{
		"Killed": {(*process).kill, (*process).start},
		"Hangs":  {func(p *process) { p.signal(syscall.SIGSTOP) }, func(p *process) { p.signal(syscall.SIGCONT) }},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := newProcess(t)
			core, logs := observer.New(zap.InfoLevel)
			ls := serverLines(server.address)
			ls.change = func(cfg *nats.Config) {
				cfg.Logger = zap.New(core)
				cfg.RequestTimeout = time.Second
				cfg.PublishTimeout = time.Second
			}
			b := open(t, ls)
			topic := makeTopic(t, b, 2)
			r := read(t, subscribe(t, b, name("group"), topic))
			p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit(), RetryMax: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			keys := []string{"key0", "key1"}
			failures := make(chan error, 1000)
			send := func(from, to int) {
				for n := from; n < to; n++ {
					for i, key := range keys {
						err := p.PublishAsync(within(t), numbered(topic, int32(i), key, n, n+1)[0], func(_ brokers.Receipt, err error) {
							if err != nil {
								failures <- fmt.Errorf("%s/%d: %w", key, n, err)
							}
						})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			send(0, 200)
			r.await(t, 100, keys...)
			fault.down(server)
			send(200, 300)
			eventually(t, "Health says disconnected", func() bool { h := b.Health(t.Context()); return !h.Connected && h.Err != nil })
			<-time.After(2 * lease)
			fault.up(server)
			began := time.Now()
			r.await(t, 299, keys...)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("reading went on %v after the server's return", took)
			}
			if err := p.Close(within(t)); err != nil {
				t.Error(err)
			}
			close(failures)
			for err := range failures {
				t.Error(err)
			}
			eventually(t, "Health is good", func() bool { h := b.Health(t.Context()); return h.Connected && h.Err == nil })
			for _, text := range []string{"nats: connection lost", "nats: connection restored"} {
				if n := logs.FilterMessage(text).Len(); n != 1 {
					t.Errorf("%q was logged %d times; want once: %v", text, n, logs.All())
				}
			}
			t.Logf("%d of %d messages were handled more than once", r.repeats(), 600)
		})
	}
}
