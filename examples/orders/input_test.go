package main

import (
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

func TestFilesHaveTheRowsThatWereWritten(t *testing.T) {
	want := all(t, generated(1, 3000))
	for _, name := range []string{"shop.csv", "shop.csv.gz"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			write(t, path, want)
			in, err := openFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := all(t, in); !slices.Equal(got, want) || in.rows != len(want) {
					t.Errorf("%d of %d rows, not as written", len(got), in.rows)
				}
			}
		})
	}
}

func all(t *testing.T, in input) (lines []line) {
	t.Helper()
	for l, err := range in.lines {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func write(t *testing.T, path string, lines []line) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	to := io.WriteCloser(file)
	if strings.HasSuffix(path, ".gz") {
		to = gzip.NewWriter(file)
	}
	records := [][]string{columns[:]}
	for _, l := range lines {
		records = append(records, []string{
			l.Invoice, l.Stock, l.Description, l.Quantity, l.Time, l.Price, l.Customer, l.Country,
		})
	}
	if err := csv.NewWriter(to).WriteAll(records); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if to != io.WriteCloser(file) {
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that is not what it should be is refused before anything is published.
func TestFilesThatAreRefused(t *testing.T) {
	const row = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
	tests := map[string]struct{ name, text, want string }{
		"empty":           {"shop.csv", "", "line 1 is not"},
		"other columns":   {"shop.csv", "a,b,c,d,e,f,g,h\n" + row, "line 1 is not"},
		"no header":       {"shop.csv", row, "line 1 is not"},
		"a field less":    {"shop.csv", header + row + "536365,85123A\n", "line 3: wrong number of fields"},
		"stray quote":     {"shop.csv", header + row + row + `536365,8"5,` + "\n", `line 4, column 9: bare "`},
		"open quote":      {"shop.csv", header + `536365,"85` + "\n" + row, `line 2`},
		"no UTF-8":        {"shop.csv", header + row + strings.Replace(row, "HOLDER", "CAF\xc9", 1), "line 3: Description"},
		"not compressed":  {"shop.csv.gz", header + row, "gzip"},
		"not comma but ;": {"shop.csv", strings.ReplaceAll(header, ",", ";"), "line 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), test.name)
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := openFile(path)
			if err == nil || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want file and %q", err, test.want)
			}
		})
	}
	if _, err := openFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
}
