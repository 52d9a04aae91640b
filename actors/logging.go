package actors

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// rateLimited lets through, of each kind of line, the first ten of a second and
// every hundredth after those: a failing dependency fails every message, and its
// log must not be the next thing to fail.
func rateLimited(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 10, 100)
	}))
}
