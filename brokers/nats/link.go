package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// errCut is why the connection is down when the client does not say.
var errCut = errors.New("nats: connection lost")

// link is what is known of the connection: whether the server can be reached,
// and since when. It logs each change once.
type link struct {
	log *zap.Logger

	mu    sync.Mutex
	up    bool
	since time.Time
	err   error
	// cut says that the client itself is without a connection. If not, and up is
	// false, the server does not answer.
	cut bool
	// conn is the client's connection, once it was lost; barred says that what
	// keeps it from connecting again was logged.
	conn    *nats.Conn
	barred  bool
	watches map[any]watch
	// session ends when the connection is lost.
	session context.Context
	end     context.CancelFunc
}

// watch is told of the connection's loss and return. Both must not block.
type watch struct{ lost, back func() }

func newLink(log *zap.Logger) *link {
	l := &link{log: log, up: true, since: time.Now(), watches: map[any]watch{}}
	l.session, l.end = context.WithCancel(context.Background())
	return l
}

// watch registers who is to be told, under a key that unwatch takes.
func (l *link) watch(key any, w watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches[key] = w
}

func (l *link) unwatch(key any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.watches, key)
}

// lost is called by the client when its connection is gone.
func (l *link) lost(conn *nats.Conn, err error) {
	if err == nil {
		err = errCut
	}
	l.mu.Lock()
	l.cut, l.conn = true, conn
	l.end()
	l.note(false, err)
	told := l.told()
	l.mu.Unlock()
	for _, w := range told {
		w.lost()
	}
}

// back is called by the client when it has a connection again.
func (l *link) back() {
	l.mu.Lock()
	if l.session.Err() != nil {
		l.session, l.end = context.WithCancel(context.Background())
	}
	l.cut, l.barred = false, false
	l.note(true, nil)
	told := l.told()
	l.mu.Unlock()
	for _, w := range told {
		w.back()
	}
}

// tried is called before each attempt to connect again. The client tells nobody
// why the last one failed, but for the dial.
func (l *link) tried() {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	if err := conn.LastError(); err != nil {
		l.refused(err)
	}
}

// refused notes why an attempt to connect again failed. What time does not mend
// is logged, once.
func (l *link) refused(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut {
		return
	}
	s := step(err)
	l.err = fmt.Errorf("nats: connect again: %s: %w", s, err)
	if s != brokers.StepDial && !l.barred {
		l.barred = true
		l.log.Warn("nats: cannot connect again, which is tried on", zap.Error(l.err))
	}
}

// silent says that the server does not answer, on a connection that looks well.
// What was called off, by its caller or by the end of a former connection, says
// nothing of this one.
func (l *link) silent(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		l.note(false, err)
	}
}

// answered says that the server answered.
func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up && !l.cut {
		l.note(true, nil)
	}
}

// note changes the state. It needs l.mu.
func (l *link) note(up bool, err error) {
	l.err = err
	if l.up == up {
		return
	}
	was := time.Since(l.since)
	l.up, l.since = up, time.Now()
	if up {
		l.log.Info("nats: connection restored", zap.Duration("after", was))
		return
	}
	l.log.Warn("nats: connection lost", zap.Error(err))
}

// complaint logs what the client says of its connection besides. What is not
// allowed is for people to mend, the rest is a sign of what else is noticed.
func (l *link) complaint(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		l.log.Warn("nats: not allowed", zap.Error(err))
		return
	}
	l.log.Debug("nats: client", zap.Error(err))
}

func (l *link) told() []watch {
	told := make([]watch, 0, len(l.watches))
	for _, w := range l.watches {
		told = append(told, w)
	}
	return told
}

// state returns what Health reports.
func (l *link) state() (up bool, since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up, l.since, l.err
}

// ends is closed when the connection that there is now is lost.
func (l *link) ends() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session.Done()
}

// while returns a context that ends with the connection too, as with that the
// answer to what was asked is lost.
func (l *link) while(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	session := l.session
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, most)
	stop := context.AfterFunc(session, cancel)
	return ctx, func() { stop(); cancel() }
}

// isCut says whether the client is without a connection.
func (l *link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}
