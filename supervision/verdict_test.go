package supervision_test

import (
	"testing"

	"github.com/troupe-go/troupe/supervision"
)

func TestKinds(t *testing.T) {
	tests := []struct {
		kind          supervision.Kind
		text          string
		burns, decide bool
	}{
		{supervision.Retry, "retry", true, false},
		{supervision.Park, "park", true, false},
		{supervision.DeadLetter, "dead-letter", true, true},
		{supervision.Discard, "discard", true, true},
		{supervision.Stop, "stop", true, false},
		{supervision.Suspend, "suspend", false, false},
		{supervision.GiveBack, "give back", false, false},
		{0, "no verdict", false, false},
		{99, "no verdict", false, false},
	}
	for _, test := range tests {
		if got := test.kind.String(); got != test.text {
			t.Errorf("%d: text %q, want %q", test.kind, got, test.text)
		}
		if got := test.kind.Burns(); got != test.burns {
			t.Errorf("%v: burns %v", test.kind, got)
		}
		if got := test.kind.Decides(); got != test.decide {
			t.Errorf("%v: decides %v", test.kind, got)
		}
	}
}
