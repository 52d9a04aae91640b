package supervision_test

import (
	"errors"
	"testing"
	"time"

	"github.com/troupe-go/troupe/supervision"
)

func TestMarksAreInvisible(t *testing.T) {
	marks := map[string]func(error) error{
		"Permanent":      supervision.Permanent,
		"RetryAfter":     func(err error) error { return supervision.RetryAfter(err, time.Second) },
		"Discardable":    func(err error) error { return supervision.Discardable(err, "old") },
		"Infrastructure": supervision.Infrastructure,
	}
	for name, mark := range marks {
		t.Run(name, func(t *testing.T) {
			if err := mark(nil); err != nil {
				t.Errorf("nil became %v", err)
			}
			err := mark(statusError{404})
			if !errors.Is(err, statusError{404}) {
				t.Error("errors.Is does not see through")
			}
			if status, ok := errors.AsType[statusError](err); !ok || status.code != 404 {
				t.Error("errors.As does not see through")
			}
			if err.Error() != "status 404" {
				t.Errorf("text: %v", err)
			}
		})
	}
}

func TestDiscardableWithoutReason(t *testing.T) {
	v := supervision.Policy{}.Decide(failure(supervision.Discardable(errBoom, ""), 1))
	if v.Reason == "" {
		t.Errorf("discarded without a reason: %v", v)
	}
}
