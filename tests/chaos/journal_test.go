package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	const writers, each = 4, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			j, err := openJournal(path) // each as a process of its own would
			if err != nil {
				t.Error(err)
				return
			}
			for n := range each {
				if err := j.write(Record{Kind: Started, Member: string(rune('a' + w)), Number: n}); err != nil {
					t.Error(err)
				}
			}
			if err := j.close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	records := readAll(t, path)
	if len(records) != writers*each {
		t.Fatalf("read %d records; want %d", len(records), writers*each)
	}
	next := map[string]int{}
	for _, r := range records {
		if r.Kind != Started || r.Time == 0 || r.Number != next[r.Member] {
			t.Fatalf("got %s at %d; want number %d", &r, r.Time, next[r.Member])
		}
		next[r.Member]++
	}
}

// A reader that comes by in the middle of a line gets it when it is whole.
func TestJournalPartialLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write := func(text string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"kind":"lost","member":"a"}` + "\n" + `{"kind":"die`)
	r, err := openReader(path)
	if err != nil {
		t.Fatal(err)
	}
	kinds := func() (kinds []Kind) {
		records, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			kinds = append(kinds, record.Kind)
		}
		return kinds
	}
	if got := kinds(); !slices.Equal(got, []Kind{Lost}) {
		t.Errorf("read %v; want what was whole", got)
	}
	write(`d","member":"a"}` + "\n")
	if got := kinds(); !slices.Equal(got, []Kind{Died}) {
		t.Errorf("read %v; want the rest", got)
	}
	write(`{"kind"`)
	if got := kinds(); got != nil {
		t.Errorf("read %v; want nothing", got)
	}
	if err := r.close(); err == nil {
		t.Error("close of a journal that ends within a line gave no error")
	}
}

func readAll(t *testing.T, path string) []Record {
	t.Helper()
	r, err := openReader(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := r.read()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	return records
}
