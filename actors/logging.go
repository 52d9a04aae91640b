package actors

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Of each kind of line (level and text) the first ten of a second are logged. The
// first one after that says how many were held back.
const (
	logBurst  = 10
	logPeriod = time.Second
)

// rateLimited holds lines back that come too often: a failing dependency fails
// every message, and its log must not be the next thing to fail.
func rateLimited(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &limitedCore{Core: core, counts: &lineCounts{kinds: make(map[lineKind]*lineCount)}}
	}))
}

type limitedCore struct {
	zapcore.Core

	counts *lineCounts // shared with the loggers made of this one
}

// lineCounts has an entry for each text in the code.
type lineCounts struct {
	mu    sync.Mutex
	kinds map[lineKind]*lineCount
}

type lineKind struct {
	level zapcore.Level
	text  string
}

type lineCount struct {
	since time.Time
	lines int // in this period
	held  int // since the last line that was written
}

// take says whether a line may be written, and how many were held back before.
func (c *lineCounts) take(e *zapcore.Entry) (held int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := lineKind{e.Level, e.Message}
	n := c.kinds[kind]
	if n == nil {
		n = &lineCount{since: e.Time}
		c.kinds[kind] = n
	}
	if e.Time.Sub(n.since) >= logPeriod {
		n.since, n.lines = e.Time, 0
	}
	if n.lines++; n.lines > logBurst {
		n.held++
		return 0, false
	}
	held, n.held = n.held, 0
	return held, true
}

// With implements zapcore.Core.
func (c *limitedCore) With(fields []zapcore.Field) zapcore.Core {
	return &limitedCore{Core: c.Core.With(fields), counts: c.counts}
}

// Check implements zapcore.Core.
func (c *limitedCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return checked
	}
	held, ok := c.counts.take(&e)
	if !ok {
		return checked
	}
	if held > 0 {
		return checked.AddCore(e, &counted{c.Core, held})
	}
	return c.Core.Check(e, checked)
}

// counted adds to one line how many of its kind were held back before it.
type counted struct {
	zapcore.Core

	held int
}

// Write implements zapcore.Core.
func (c *counted) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.Core.Write(e, append(fields, zap.Int("held_back", c.held)))
}
