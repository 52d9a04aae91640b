package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/brokers/memory"
)

// The data set is not part of the project: TEST_DATA_DIR says where it is.
func TestTotalsOfTheDataSet(t *testing.T) {
	tests := []struct {
		part   string
		faults float64
	}{
		{"_2010-12", 0},
		{"_2010-12", 0.01},
		{"", 0.01},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("online_retail%s, faults %v", test.part, test.faults), func(t *testing.T) {
			if test.part == "" && os.Getenv("TEST_FULL_DATA") != "1" && os.Getenv("CI") != "true" {
				t.Skip("takes long: set TEST_FULL_DATA=1")
			}
			in, want := dataSet(t, test.part)
			j, report := work(t, options{faults: test.faults}, in, newBroker(t, memory.Config{DropSettled: true}))
			same(t, asPrinted(t, foundBy(t, j).named()), want)
			t.Log(report)
		})
	}
}

// dataSet opens a part of the data set, and reads those of its totals that the
// program must find.
func dataSet(t *testing.T, part string) (input, map[string]string) {
	t.Helper()
	dir := os.Getenv("TEST_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			t.Skip("no data set: set TEST_DATA_DIR to the folder of online_retail.csv.gz")
		}
	}
	in, err := openFile(filepath.Join(dir, "online_retail"+part+".csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "totals"+part+".tsv"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if found(name) {
			want[name] = value
		}
	}
	return in, want
}

// found says whether a name of the data set's totals is one that the program
// finds.
func found(name string) bool {
	for _, prefix := range []string{"revenue_mils.month.", "revenue_mils.customer.", "cancel.", "orders."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "rows" || name == "revenue_mils" || name == "order_digest.customer"
}
