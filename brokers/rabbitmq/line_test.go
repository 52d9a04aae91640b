package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"sync"
)

var errCut = errors.New("the line is cut")

// line is one client's way to the server, which can be cut.
type line struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

// dial is what a client opens connections with.
func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errCut
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.conns = append(l.conns, nc)
	return nc, nil
}

// cut ends all connections, and lets none be made until mend.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, nc := range l.conns {
		_ = nc.Close() // it may be closed by now
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
