package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

func TestJSONIsAllThatGoesToStdout(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-rows", "2000", "-seed", "3", "-json"}, &stdout, &stderr); status != exitOK {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	same(t, decodeTotals(t, stdout.Bytes()), sum(t, generated(3, 2000)))
	if !strings.Contains(stderr.String(), "report: handled ") {
		t.Errorf("no report in %s", &stderr)
	}
}

func TestTextSaysWhatWasFound(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-rows", "2000", "-faults", "0.1"}, &stdout, &stderr); status != exitOK {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	want := sum(t, generated(1, 2000))
	for _, text := range []string{"of 2000 rows", want["order_digest.customer"], "  2010-12 ", "  customer "} {
		if !strings.Contains(stdout.String(), text) {
			t.Errorf("no %q in\n%s", text, &stdout)
		}
	}
	for _, text := range []string{
		"ledger: 2000 rows handled", "rows dead-lettered: nothing to undo", "rows discarded: no sale",
		"4000 messages in ", "report: handled ",
	} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("no %q in\n%s", text, &stderr)
		}
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.csv")
	ended, end := context.WithCancel(t.Context())
	end()
	tests := map[string]struct {
		ctx    context.Context
		args   []string
		status int
		want   string
	}{
		"unknown flag":      {t.Context(), []string{"-row", "1"}, exitUsage, "-row"},
		"unknown argument":  {t.Context(), []string{"shop.csv"}, exitUsage, `"shop.csv"`},
		"data and rows":     {t.Context(), []string{"-data", "shop.csv", "-rows", "5"}, exitUsage, "-rows"},
		"negative rows":     {t.Context(), []string{"-rows", "-1"}, exitUsage, "-rows"},
		"impossible faults": {t.Context(), []string{"-faults", "NaN"}, exitUsage, "-faults"},
		"no partition":      {t.Context(), []string{"-partitions", "0"}, exitUsage, "-partitions"},
		"help":              {t.Context(), []string{"-h"}, exitOK, "-partitions"},
		"missing file":      {t.Context(), []string{"-data", missing}, exitFailed, missing},
		"unknown broker":    {t.Context(), []string{"-broker", "carrier-pigeon://loft"}, exitFailed, "carrier-pigeon"},
		"told to end":       {ended, []string{"-rows", "10"}, exitInterrupted, "orders: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(test.ctx, test.args, &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("status %d, want %d, and %q in %s", status, test.status, test.want, &stderr)
			}
		})
	}
}
