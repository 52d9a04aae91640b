package embedded

import (
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// serverLog takes what the server logs, and keeps why it cannot start.
type serverLog struct {
	log *zap.SugaredLogger

	mu    sync.Mutex
	fatal error
}

func newServerLog(log *zap.Logger) *serverLog {
	if log == nil {
		log = zap.NewNop()
	}
	return &serverLog{log: log.Named("nats-server").Sugar()}
}

// cause is why the server has given up; nil if it has not.
func (l *serverLog) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Fatalf notes why the server gives up. It goes on to run, without a use.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, args...)
	}
}

// Errorf is a warning: the server mends it or the driver notices.
func (l *serverLog) Errorf(format string, args ...any) { l.log.Warnf(format, args...) }

// Warnf is the server's.
func (l *serverLog) Warnf(format string, args ...any) { l.log.Warnf(format, args...) }

// Noticef is of no interest to a program that embeds the server.
func (l *serverLog) Noticef(format string, args ...any) { l.log.Debugf(format, args...) }

// Debugf is the server's.
func (l *serverLog) Debugf(format string, args ...any) { l.log.Debugf(format, args...) }

// Tracef is not asked for.
func (l *serverLog) Tracef(string, ...any) {}
