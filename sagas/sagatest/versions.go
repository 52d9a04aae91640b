package sagatest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/sagas"
)

// A program that cannot go on with instances in flight does not start, and names the
// first of them. What has ended, or is of a version that it has, is not in its way.
func testVersions(t *testing.T, o Opened) {
	var units []sagas.Unit
	for i := range 9 {
		u := unit(fmt.Sprintf("order-%d", 9-i), 0)
		switch i {
		case 0:
			u.Record.Status = sagas.Compensated
		case 1:
			u.Record.Version = 3
		case 2:
			u.Record.Status = sagas.Stuck
		}
		units = append(units, u)
	}
	wantVerdicts(t, commit(t, o.Store, units...), make([]error, len(units))...)
	later := &sagas.Definition[state]{Name: "checkout", Version: 3, Steps: []sagas.Step[state]{{Name: "ship", Kind: sagas.Retriable, Do: to("ship")}}}
	cfg := sagas.Config[state]{Definitions: []*sagas.Definition[state]{later}, Store: o.Store, Name: "later", Replies: "replies", DeadLetters: "dead"}
	_, err := sagas.Open(t.Context(), cfg)
	var refused *sagas.VersionError
	if !errors.As(err, &refused) || refused.Version != 2 || refused.Instances != 7 {
		t.Fatalf("opened, or %v", err)
	}
	if want := []string{"order-1", "order-2", "order-3", "order-4", "order-5"}; !slices.Equal(refused.IDs, want) {
		t.Errorf("names %q, want %q", refused.IDs, want)
	}
	if want := `"order-4", "order-5" and 2 more`; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want ... %s", err, want)
	}
}
