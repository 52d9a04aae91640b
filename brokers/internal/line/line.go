// Package line is for tests: a client's way to a server, which can be cut.
package line

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ErrCut is why a line that is cut carries nothing.
var ErrCut = errors.New("the line is cut")

// Line is one client's way to a server, which can be cut. The zero value is whole.
type Line struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
	cuts  int
	reads sync.RWMutex // held while nothing comes from the server
}

// Dial is what a client opens connections with.
func (l *Line) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, ErrCut
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.conns = append(l.conns, nc)
	return held{nc, l, l.cuts}, nil
}

// held is a connection whose answers can be held.
type held struct {
	net.Conn

	l    *Line
	cuts int // of the line when it was opened
}

func (h held) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.l.reads.RLock()
	defer h.l.reads.RUnlock()
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.cuts != h.l.cuts {
		return 0, ErrCut // it was held until the line was cut
	}
	return n, err
}

// HoldAnswers lets nothing come from the server until let is called.
func (l *Line) HoldAnswers() (let func()) {
	l.reads.Lock()
	return l.reads.Unlock
}

// Cut ends all connections, and lets none be made until Mend.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	l.cuts++
	for _, nc := range l.conns {
		_ = nc.Close() // it may be closed by now
	}
	l.conns = nil
}

// Mend lets connections be made again.
func (l *Line) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
