package sagatest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	sagatest.TestStore(t, func(*testing.T) sagatest.Opened {
		var ids []string
		store := &sagas.Memory{Publish: func(messages []brokers.Message) {
			for i := range messages {
				ids = append(ids, messages[i].ID)
			}
		}}
		return sagatest.Opened{Store: store, Published: func(*testing.T) []string { return ids }}
	})
}
