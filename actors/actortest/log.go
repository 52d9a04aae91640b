package actortest

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// logCore writes log lines into the story.
type logCore struct {
	story  *story
	fields []zapcore.Field
}

func (s *story) logger() *zap.Logger { return zap.New(&logCore{story: s}) }

func (c *logCore) Enabled(zapcore.Level) bool { return true }
func (c *logCore) Sync() error                { return nil }

func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{c.story, slices.Concat(c.fields, fields)}
}

func (c *logCore) Check(line zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(line, c)
}

func (c *logCore) Write(line zapcore.Entry, fields []zapcore.Field) error {
	e := entry{what: observer.LoggedEntry{Entry: line, Context: slices.Concat(c.fields, fields)}}
	for _, f := range c.fields {
		if f.Key == "group" {
			e.group = f.String
		}
	}
	c.story.add(e)
	return nil
}

// ExpectLogged expects a log line, of any level, whose message contains text; it
// passes over others. A scope that is narrowed to a key or a partition has the
// lines of all.
func (s Scope) ExpectLogged(text string) observer.LoggedEntry {
	s.story.t.Helper()
	e := s.story.next(s.within, func(e *entry) bool {
		line, ok := e.what.(observer.LoggedEntry)
		return ok && s.logs(e) && strings.Contains(line.Message, text)
	})
	if e == nil {
		s.story.fail(nil, s.within, fmt.Sprintf("a log line with %q", text))
		return observer.LoggedEntry{}
	}
	return e.what.(observer.LoggedEntry)
}

// ExpectNotLogged expects that nothing has been logged until now at a level or
// above it, but for what [Scope.ExpectLogged] took.
func (s Scope) ExpectNotLogged(level zapcore.Level) {
	s.story.t.Helper()
	synctest.Wait()
	e, _ := s.story.take(func(e *entry) bool {
		line, ok := e.what.(observer.LoggedEntry)
		return ok && s.logs(e) && line.Level >= level
	})
	if e != nil {
		s.story.fail(e, 0, fmt.Sprintf("no log line of level %v or above", level))
	}
}

func (s Scope) logs(e *entry) bool { return e.group == "" || e.group == s.group }
