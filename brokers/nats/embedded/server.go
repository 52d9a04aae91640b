package embedded

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// errNotReady is why a server that was started is given up: its store is too
// large for the time.
var errNotReady = errors.New("embedded: server not ready in time")

// Server is a NATS server with JetStream in this process. It listens on no port.
type Server struct{ s *server.Server }

// Start runs a server, which is ready when Start returns.
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
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
		srv.Close()
		return nil, fmt.Errorf("embedded: directory %q: %w", cfg.Dir, err)
	}
	if !s.ReadyForConnections(cfg.StartTimeout) {
		srv.Close()
		return nil, fmt.Errorf("%w: directory %q, in %v", errNotReady, cfg.Dir, cfg.StartTimeout)
	}
	return srv, nil
}

// InProcessConn returns a new connection to the server, for the option
// InProcessServer of the NATS client.
func (s *Server) InProcessConn() (net.Conn, error) { return s.s.InProcessConn() }

// Close shuts the server down and waits until it has written all and ended. It
// may be called again.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// startTimeout is long as a store of many messages is read first.
const startTimeout = 30 * time.Second
