package embedded

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// errNotReady is why a server that was started is given up: its store is too
// large for the time.
var errNotReady = errors.New("embedded: server not ready in time")

// ErrInUse says that another server, of this process or another, has the
// directory. Close that one, or give this one a directory of its own. After a
// crash nobody has it.
var ErrInUse = errors.New("embedded: directory in use")

// Server is a NATS server with JetStream in this process. It listens on no port.
type Server struct {
	s    *server.Server
	lock *flock.Flock
}

// Start runs a server, which is ready when Start returns. If another server has
// the directory the error is [ErrInUse].
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	srv, err := start(cfg)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	srv.lock = lock
	return srv, nil
}

// lockDir keeps others out of a directory, which two servers would spoil. The
// operating system gives the lock back when the process ends, however it does.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("embedded: directory %q: %w", dir, err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	held, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("embedded: directory %q: %w", dir, err)
	case !held:
		return nil, fmt.Errorf("%w: %q", ErrInUse, dir)
	}
	return lock, nil
}

func start(cfg Config) (*Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "embedded",
		DontListen: true,
		JetStream:  true,
		StoreDir:   cfg.Dir,
		SyncAlways: cfg.Sync == SyncAlways,
		MaxPayload: int32(cfg.MaxPayload),
		NoSigs:     true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	log := newServerLog(cfg.NATS.Logger)
	s.SetLogger(log, false, false)
	s.Start() // reads the store
	srv := &Server{s: s}
	if err := log.cause(); err != nil {
		srv.shutdown()
		return nil, fmt.Errorf("embedded: directory %q: %w", cfg.Dir, err)
	}
	if !s.ReadyForConnections(cfg.StartTimeout) {
		srv.shutdown()
		return nil, fmt.Errorf("%w: directory %q, in %v", errNotReady, cfg.Dir, cfg.StartTimeout)
	}
	return srv, nil
}

// InProcessConn returns a new connection to the server, for the option
// InProcessServer of the NATS client.
func (s *Server) InProcessConn() (net.Conn, error) { return s.s.InProcessConn() }

// Close shuts the server down and waits until it has written all and ended. It
// may be called again. The error is that of giving up the directory.
func (s *Server) Close() error {
	s.shutdown()
	return s.lock.Unlock()
}

func (s *Server) shutdown() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// startTimeout is long as a store of many messages is read first.
const startTimeout = 30 * time.Second
