package main

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrints(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), "", &out); err != nil {
		t.Fatal(err)
	}
	if want := "ann has 1000 pence\nbob has 1000 pence\ncleo has 1000 pence\n"; out.String() != want {
		t.Errorf("printed %q; want %q", out.String(), want)
	}
}
