package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The data set is not part of the project: TEST_DATA_DIR says where it is.
func TestTotalsOfTheDataSet(t *testing.T) {
	for _, part := range []string{"_2010-12", ""} {
		t.Run("online_retail"+part, func(t *testing.T) {
			if (part == "" || raceEnabled) && os.Getenv("TEST_FULL_DATA") != "1" {
				t.Skip("takes minutes: set TEST_FULL_DATA=1")
			}
			data, want := dataSet(t, part)
			got := decode(t, ran(t, "-json", "-data", data))
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%s is %q, want %q", name, got[name], value)
				}
			}
		})
	}
}

// dataSet is a part of the data set, and those of its totals that the shop must
// find.
func dataSet(t *testing.T, part string) (path string, want map[string]string) {
	t.Helper()
	dir := os.Getenv("TEST_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			t.Skip("no data set: set TEST_DATA_DIR to the folder of online_retail.csv.gz")
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "totals"+part+".tsv"))
	if err != nil {
		t.Fatal(err)
	}
	want = make(map[string]string)
	for l := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		if strings.HasPrefix(name, "orders.") || strings.HasPrefix(name, "stock_balance.") || name == "cancel.mils_matched" {
			want[name] = value
		}
	}
	if len(want) != 11 {
		t.Fatalf("%d of the totals are there, want 11", len(want))
	}
	return filepath.Join(dir, "online_retail"+part+".csv.gz"), want
}
