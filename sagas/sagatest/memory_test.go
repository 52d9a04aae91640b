package sagatest_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handed is what the store was given to publish, as a source that nobody relays.
type handed struct {
	outbox.Source

	rows []outbox.Row
}

func (h *handed) publish(messages []brokers.Message) {
	for _, m := range messages {
		h.rows = append(h.rows, outbox.Row{Seq: int64(len(h.rows) + 1), Message: m})
	}
}

func (h *handed) Rows(context.Context, int) ([]outbox.Row, error) { return h.rows, nil }

func TestMemory(t *testing.T) {
	sagatest.TestStore(t, func(*testing.T) sagatest.Opened {
		h := &handed{}
		return sagatest.Opened{Store: &sagas.Memory{Publish: h.publish}, Source: h}
	})
}
