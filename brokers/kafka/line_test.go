package kafka_test

import (
	"context"
	"errors"
	"net"
	"sync"
)

var errCut = errors.New("the line is cut")

// line is one client's way to the cluster, which can be cut.
type line struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
	cuts  int
	reads sync.RWMutex // held while nothing comes from the cluster
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
	return held{nc, l, l.cuts}, nil
}

// held is a connection whose answers can be held.
type held struct {
	net.Conn

	l    *line
	cuts int // of the line when it was opened
}

func (h held) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.l.reads.RLock()
	defer h.l.reads.RUnlock()
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.cuts != h.l.cuts {
		return 0, errCut // it was held until the line was cut
	}
	return n, err
}

// holdAnswers lets nothing come from the cluster until let is called.
func (l *line) holdAnswers() (let func()) {
	l.reads.Lock()
	return l.reads.Unlock
}

// cut ends all connections, and lets none be made until mend.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	l.cuts++
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
