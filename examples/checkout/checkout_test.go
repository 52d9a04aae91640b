package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// sum is what a simple reading of the rules comes to, row by row.
func sum(invoices []invoice) map[string]string {
	type item struct {
		order string
		left  int
	}
	open := make(map[string][]*item)
	ordered, left := make(map[string]int), make(map[string]int)
	totals := map[string]int{"orders.with_customer": 0, "orders.fully_cancelled": 0, "orders.partly_cancelled": 0, "orders.untouched": 0}
	for _, i := range invoices {
		for _, l := range i.Lines {
			totals["stock_balance."+l.Stock] -= l.Units
			totals["stock_balance.all"] -= l.Units
			if l.Units > 0 && !strings.HasPrefix(i.No, "A") {
				totals["charged_mils"] += l.Units * int(l.Price)
			}
			if i.Customer == "" {
				continue
			}
			key := fmt.Sprint(i.Customer, "|", l.Stock, "|", l.Price)
			if l.Units > 0 {
				open[key] = append(open[key], &item{i.No, l.Units})
				ordered[i.No] += l.Units
				left[i.No] += l.Units
				continue
			}
			for units := -l.Units; units > 0 && len(open[key]) > 0; {
				newest := open[key][len(open[key])-1]
				n := min(units, newest.left)
				newest.left, units = newest.left-n, units-n
				left[newest.order] -= n
				totals["cancel.mils_matched"] += n * int(l.Price)
				if newest.left == 0 {
					open[key] = open[key][:len(open[key])-1]
				}
			}
		}
	}
	for order, units := range ordered {
		totals["orders.with_customer"]++
		switch left[order] {
		case 0:
			totals["orders.fully_cancelled"]++
		case units:
			totals["orders.untouched"]++
		default:
			totals["orders.partly_cancelled"]++
		}
	}
	all := make(map[string]string)
	for name, n := range totals {
		all[name] = fmt.Sprint(n)
	}
	return all
}

// decode reads what the command has printed.
func decode(t *testing.T, text []byte) map[string]string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var got map[string]any
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	all := make(map[string]string)
	for name, value := range got {
		all[name] = fmt.Sprint(value)
	}
	return all
}

// same compares totals by name.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s, %q, should not be there", name, value)
		}
	}
}

// ran runs the command within the test.
func ran(t *testing.T, args ...string) (stdout []byte) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(t.Context(), args, &out, &errs); status != exitOK {
		t.Fatalf("status %d: %s", status, &errs)
	}
	return out.Bytes()
}

func TestTotalsAreThoseOfASimpleSum(t *testing.T) {
	for seed := range uint64(3) {
		args := []string{"-json", "-invoices", "150", "-seed", fmt.Sprint(seed)}
		same(t, decode(t, ran(t, args...)), sum(generate(seed, 150)))
	}
	same(t, decode(t, ran(t, "-json", "-invoices", "0")), map[string]string{
		"stock_balance.all": "0", "orders.with_customer": "0", "orders.fully_cancelled": "0", "orders.partly_cancelled": "0",
		"orders.untouched": "0", "cancel.mils_matched": "0", "charged_mils": "0",
	})
}

// The timeline of a cancelled order says what happened, in order.
func TestTimeline(t *testing.T) {
	text := string(ran(t, "-invoices", "60"))
	at := 0
	for _, want := range []string{
		"orders ", "refunded ", "compensated: cancelled by C", "started", "do reserve: step done", "do charge: step done",
		"do pack: step rejected", "compensating", "undo charge: step undone", "undo reserve: step undone", "compensated",
	} {
		found := strings.Index(text[at:], want)
		if found < 0 {
			t.Fatalf("no %q after the first %d bytes of\n%s", want, at, text)
		}
		at += found
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	bad := t.TempDir() + "/bad.csv"
	if err := os.WriteFile(bad, []byte(strings.Join(columns, ",")+"\n1,2,,x,,1.0,,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"-invoice 1", exitUsage, "-invoice"},
		{"-invoices -1", exitUsage, "-invoices"},
		{"-data x -invoices 1", exitUsage, "-invoices"},
		{"-partitions 0", exitUsage, "-partitions"},
		{"shop", exitUsage, `"shop"`},
		{"-h", exitOK, "-partitions"},
		{"-data /missing.csv", exitFailed, "missing.csv"},
		{"-data " + bad, exitFailed, `row 1, invoice "1": column Quantity`},
		{"-broker pigeon://loft", exitFailed, "pigeon"},
		{"-store postgres://127.0.0.1:1/x", exitFailed, "127.0.0.1"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), strings.Fields(test.args), &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: status %d, want %d, and %q in %s", test.args, status, test.status, test.want, &stderr)
		}
	}
}

func quiet(t *testing.T) *log.Logger { return log.New(t.Output(), "", 0) }
